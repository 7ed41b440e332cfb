// Package install puts the CNI plugin of the extension's image into the host's
// directory of CNI plugins, as the program "sriov", and takes it away again.
//
// What is there may be somebody else's: sriov-cni's own installer uses the same
// name. A program is ours when its SHA-256 is in the record that is kept in the
// state directory, or when it is byte for byte the image's. Nothing is executed to
// find out, and nothing depends on a format of programs. The record is written
// before a program gets its name, so that a crash between the two leaves no
// program of ours that we take for foreign.
//
// It may import pkg/spec, pkg/install/outcome and pkg/internal/fileid. It never runs a
// program, never writes below a mount point that is missing, and never removes the
// plugin while a pod's interface needs it to end.
package install

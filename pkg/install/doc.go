// Package install puts the CNI plugin of the extension's image into the host's
// directory of CNI plugins, as the program "sriov", and takes it away again.
//
// What is there may be somebody else's: sriov-cni's own installer uses the same
// name. A program is ours when its SHA-256 is in the record that is kept in the
// state directory, or when it is byte for byte the image's. Nothing is executed to
// find out, and nothing depends on a format of programs. The record is written
// before a program gets its name, so that a crash between the two leaves no
// program of ours that we take for foreign.
package install

// Package inventory reads from the machine once what SR-IOV there is: the
// immutable [Snapshot] that plan, pool and the workstation tools decide
// from.
//
// [Read] sees the machine through two interfaces only: a sysfs.Tree, which may
// be this host's /sys, a fixture or a remote node, and a [Network], which may
// be missing. A device that vanishes or an attribute that cannot be read
// meanwhile costs that device a [Note], never the snapshot, and so does a question
// that a Network cannot ask. Nothing is written, nothing is decided, nothing is kept
// between two reads.
//
// It may import pkg/sysfs, pkg/nic and pkg/nl (types and errors of nl only; nl's handle
// satisfies Network), the standard library and yaml. It never imports
// spec, plan or anything above.
package inventory

// Package sysfs is the project's only knowledge of the layout of /sys.
//
// It has three parts: [Tree], the reading interface that the inventory is
// written against (so that a remote machine can be read through another
// implementation); [FS], the host's implementation, rooted and unable to be
// led out of its root by a symbolic link; and path builders, so that no other
// package spells a sysfs path.
//
// Reads are one open, one read(2) of at most a page, one close: a sysfs
// attribute is never longer, and a driver that answers EAGAIN or EINVAL for
// ever must not make the reader spin. Writes open an existing attribute
// O_WRONLY; neither O_CREATE nor O_TRUNC is ever used, so a mistyped name cannot
// leave a regular file behind on a file system that allows it.
//
// The package may import the standard library, golang.org/x/sys/unix and pkg/pci. It
// decides nothing, keeps no state but the root's descriptor, and never walks
// outside the root.
package sysfs

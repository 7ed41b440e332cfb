// Package cni is the CNI plugin for "type: sriov": it makes the VF with the
// PCI address in deviceID the interface of a pod, and gives it back as it was.
//
// It follows the CNI specification (versions 0.1.0 to 1.1.0) and takes the
// place of the plugin sriov-cni: the same configuration keys with the same
// meaning and precedence, and the same files below /var/lib/cni/sriov, so that
// a node with running pods can change over and back.
//
// How it is built. Package netconf validates what the runtime gives, package vf
// reads the VF and compares its attributes, package attachment is what is on disk,
// and package fault is the error of them all. Here are the commands; each reads
// forwards, from a value to the next one:
//
//	ADD    request -> resolve -> decide -> apply, or back          add.go, apply.go
//	DEL    load -> release -> drop the files                       del.go
//	GC     DEL for each attachment that the runtime does not name  del.go
//	CHECK  look -> differences -> one error                        check.go
//	daemon Orphans -> Reclaim, which is DEL without IPAM           orphans.go
//
// What is read and what is decided are values; deciding is pure. Only apply, release
// and settle write to the machine. The attachment, with all that is needed to undo it,
// is on disk before the first change. There is one way back, release (release.go,
// settle.go), and everything takes it: DEL, a failed ADD, GC, an ADD that finds a VF
// whose pod died without DEL, and the daemon, which finds such VFs. It compares before
// it writes, so that it may be cut off anywhere and be run again.
//
// The machine is behind two interfaces, [Kernel] (netlink in network
// namespaces) and sysfs.Tree; address management is behind [IPAM].
//
// It may import pkg/nl, pkg/sysfs and containernetworking/cni, and of the rest of
// this project only what its own packages need (pkg/nic, pkg/vfrules, pkg/pci): the
// binary is small. It never starts a process
// itself; the CNI library starts the IPAM plugin, as the specification demands,
// behind package delegate, which the daemon does not link. It never creates or
// destroys VFs, and writes nothing outside of its directory of attachments, the VF,
// the pod's network namespace and a log below /var/log. A path that comes from a
// configuration, the environment or a file is identified before it is opened. The
// daemon that sets attributes of VFs takes the same locks ([Plugin.LockVF]).
package cni

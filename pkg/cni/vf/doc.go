// Package vf is a VF as the CNI plugin sees it: what sysfs and its PF report of it,
// and, as pure functions, which of its attributes differ from what a configuration
// asks for ([Wanted]) or from what they were before an attachment ([Restored]). A
// [Setting] is such a difference; it is written with [Setting.Apply].
//
// It may import pkg/nl, pkg/sysfs, pkg/nic and, of the plugin, pkg/cni/fault,
// pkg/cni/netconf and pkg/cni/attachment. It opens no namespace and no file of the
// plugin.
package vf

// Package netconf is what the runtime gives the CNI plugin to work with: the network
// configuration on standard input, CNI_ARGS, the interface's name and prevResult.
// They are decoded and validated here, before anything is opened.
//
// It may import pkg/cni/fault, pkg/vfrules, the functions of pkg/sysfs that are pure,
// and containernetworking/cni. It reads and writes nothing.
package netconf

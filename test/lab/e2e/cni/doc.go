// Package cni runs the CNI plugin on a real kernel with VFs, by hand, without
// kubelet, container runtime and Multus: it makes network namespaces, calls the
// program as the specification says, and looks at what came of it.
//
// With SRIOVCNI=path the program of sriov-cni at that path (static, for
// linux/amd64) runs beside it: each of the two ends what the other began, and
// their times are printed. Without it those cases are skipped.
package cni

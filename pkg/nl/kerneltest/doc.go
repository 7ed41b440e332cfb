// Package kerneltest holds tests of pkg/nl and pkg/apply on a kernel with
// netdevsim: a PF that is not hardware, but has what the kernel itself does for
// devlink, the eswitch mode, representors and the attributes of VFs. They run
// where SRIOV_NETDEVSIM=1 is set, which the lab does in a guest of its own
// (test/lab/e2e/kernel), and skip elsewhere.
//
// It has no code beside its tests, and nothing imports it.
package kerneltest

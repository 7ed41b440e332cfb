// Package cardtest holds the test of sriovd as it is shipped, beside a stand-in for the
// kubelet, on a kernel with a network card that has VFs, and with nothing else. It runs
// where SRIOV_CARD names the program, which the lab does in a guest of arm64
// (test/lab/e2e/kernel), and skips elsewhere.
//
// It has no code beside its test, and nothing imports it.
package cardtest

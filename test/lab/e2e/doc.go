// Package e2e has the tests of the whole: the packaged extension on a real
// kernel with SR-IOV cards, beside a real kubelet, container runtime and API
// server.
//
// One node serves all cases that leave it as they found it; it is restored from
// a saved state, or booted when there is none. Cases that need a boot of their
// own say so by calling boot. Each case can be run alone by name.
package e2e

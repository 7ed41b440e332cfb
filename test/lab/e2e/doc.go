// Package e2e has the tests of the whole: the packaged extension on Talos Linux with
// SR-IOV cards, beside a real kubelet, container runtime and API server. LAB_TALOS names
// the version of Talos; without it, it is the newest that the lab has.
//
// One node serves all cases that leave it as they found it; it is restored from a saved
// state, or booted when there is none. A case that needs a node that no other has used
// calls restored; one that looks at a boot, or needs another machine or image, calls
// boot. Each case can be run alone by name.
package e2e

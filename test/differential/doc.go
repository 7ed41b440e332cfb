// Package differential compares the device plugin with the programs and
// libraries that it must agree with; it has tests only.
//
// TestDifferential starts sriovd and the SR-IOV network device plugin one after
// the other on the same made-up machine, with the same resourceList, asks both
// for the same devices as a kubelet would, and compares everything that a
// kubelet, a container runtime, Multus or a pod can see. Each difference must be
// named by a row of docs/compatibility.md. It needs root and a built binary of
// the other program:
//
//	SRIOVDP=/path/to/sriovdp go test -run Differential -v .
//
// Neither program knows of the test: both run in a mount namespace in which
// /sys, /dev, /run and the kubelet's directory are the test's own, and in a network
// namespace that has an interface for each that sysfs shows.
//
// TestCDI loads the CDI files that pkg/deviceplugin writes with the library that
// container runtimes use, and injects their devices into an OCI specification.
//
// The module is one of its own, so that no library is required for a test alone.
package differential

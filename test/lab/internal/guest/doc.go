// Package guest is PID 1 of the lab's node. It does by itself what Talos'
// machined and udevd do, in the order in which they do it, as far as a system
// extension can tell the difference: extension services first, then the machine
// configuration, the network, /var, the container runtime, the kubelet. Every
// step is recorded with its time, so that a test can assert the order.
//
// The rules themselves are in extsvc and netname; this package puts them into
// effect. It may run programs of the root filesystem (runc, modprobe, ip,
// containerd, kubelet) and is driven by the host through wire.
package guest

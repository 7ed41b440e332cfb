// Package lab runs a Kubernetes node with Talos Linux and SR-IOV network cards in QEMU,
// and gives tests a handle on all of it: the node, its monitor, the Kubernetes API.
//
//	node, err := lab.Start(ctx, lab.Options{})
//	defer node.Close()
//	out, err := node.Exec(ctx, "ip link")
//
// Talos' own init, machined and imager are unchanged, built from its Go module; the
// extension is in the image as its imager puts it there; configs are patched into the
// machine config by talosctl. Debian's kernel and programs stand in for Talos' own
// packages.
//
// The node is of type controlplane and never bootstrapped: the control plane runs on
// the host, and the kubelet reaches it through KubePrism. So apid runs, which it does
// not on a worker without trustd, and no image of a control plane is pulled. Talos
// waits for etcd until its boot times out, after 70 minutes.
//
// Everything that is built or fetched stays in _out/lab. A node that boots with the
// same parts as an earlier one is restored from a saved state instead, unless a fresh
// boot is asked for.
package lab

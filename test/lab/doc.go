// Package lab boots a whole Kubernetes node with SR-IOV network cards in QEMU,
// runs a Talos system extension on it as Talos would, and gives tests a handle
// on all of it: the guest, its monitor, the Kubernetes API.
//
//	node, err := lab.Start(ctx, lab.Options{})
//	defer node.Close()
//	out, err := node.Exec(ctx, "ip -br link")
//
// Everything that is built or fetched stays in _out/lab. A node that boots with
// the same parts as an earlier one is restored from a saved state instead, unless
// a fresh boot is asked for.
package lab

// Package talos runs a Kubernetes node with Talos Linux in QEMU: Talos' own init,
// machined and imager, unchanged, built from its Go module; the extension as its
// imager puts it into an image; documents as talosctl patches them into the machine
// config. Debian's kernel and programs stand in for Talos' own packages.
//
// The node is of type controlplane and never bootstrapped: the control plane runs on
// the host, and the kubelet reaches it through KubePrism. So apid runs, which it does
// not on a worker without trustd, and no image of a control plane is pulled. Talos
// waits for etcd until its boot times out, after 70 minutes.
package talos

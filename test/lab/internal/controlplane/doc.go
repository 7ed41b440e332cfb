// Package controlplane runs a Kubernetes control plane on the host's loopback:
// etcd, API server, controller manager and scheduler, each the real program.
//
// The API server reaches kubelets through an egress proxy of ours: it asks for
// "node-1:10250", and the proxy knows to which forwarded port of the host that
// leads. So nodes keep their names, and nothing on the host is configured.
package controlplane

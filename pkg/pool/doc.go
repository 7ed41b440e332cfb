// Package pool says which devices are offered to the kubelet under which
// resource name, which of them are healthy, and what a container gets with
// each. It is the pure half of the device plugin: a config and a snapshot in,
// an Assignment out.
//
// It may import pkg/spec, pkg/inventory, pkg/nic and pkg/selection. It never reads the
// machine and never talks to the kubelet (that is pkg/deviceplugin).
package pool

// Package health judges whether the devices of the pools are healthy, from
// one observation of the machine to the next: link state with a hold-down against
// flapping, PCIe errors, devices that went away while a pod has them.
//
// A Judge is memory and arithmetic: it is handed snapshots and the time, and
// returns when it wants to be asked again. It reads nothing and starts no timers.
//
// It may import pkg/inventory, pkg/pool and pkg/spec. What only a single observation
// shows (no driver, no IOMMU group) is pkg/pool's.
package health

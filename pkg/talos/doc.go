// Package talos is what a workstation knows of Talos: how a machine-config patch and
// a schematic for a config of ours look, and how a node is read through the Talos API,
// with its sysfs as a [sysfs.Tree].
//
// It may import the Talos machinery and what decides on the node too: pkg/spec,
// pkg/selection, pkg/inventory, pkg/nic, pkg/nl (types), pkg/pci, pkg/sysfs, and the
// files' formats of pkg/record, pkg/state and pkg/status; beside them
// pkg/machineconfig, pkg/talos/nodenet and pkg/talos/versions. Nothing that runs on a
// node imports it. It never writes to a node, except for [Node.Patch] and only when
// asked.
package talos

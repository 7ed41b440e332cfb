// Package talos is what a workstation knows of Talos: which version has which
// configuration documents, how a machine-config patch and a schematic for a
// document of ours look, and how a node is read through the Talos API, with its
// sysfs as a [sysfs.Tree].
//
// It may import the Talos machinery and what decides on the node too: pkg/spec,
// pkg/selection, pkg/plan, pkg/inventory, pkg/nic, and the files' formats of
// pkg/state and pkg/status. Nothing that runs on a node imports it. It never writes
// to a node, except for [Node.Patch] and only when asked.
package talos

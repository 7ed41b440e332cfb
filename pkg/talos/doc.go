// Package talos is what a workstation knows of Talos: which version has which
// configuration documents, how a machine-config patch and a schematic for a
// document of ours look, and how a node is read through the Talos API, with its
// sysfs as a [sysfs.Tree].
//
// It may import the Talos machinery, pkg/spec, pkg/sysfs, pkg/inventory and
// pkg/nic. Nothing that runs on a node imports it. It never writes to a node,
// except for [Node.Patch] and only when asked.
package talos

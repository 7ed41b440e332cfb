// Package network renders networks for pods: NetworkAttachmentDefinitions from a
// short description or from the SR-IOV Network Operator's objects, as control
// plane patches, and an admission policy that gives pods the resource request
// that goes with a network.
//
// All JSON is built from values, none by joining text. The package may import
// pkg/talos/versions, pkg/machineconfig, pkg/spec and pkg/vfrules; it talks to nobody.
package network

// Package convert turns what people have of the SR-IOV Network Operator and of
// the SR-IOV network device plugin into our config and networks: policies
// (merged in the order in which the operator merges them), SriovNetwork and
// SriovIBNetwork objects, and the device plugin's config.json or ConfigMap. What
// has no equivalent is reported, never dropped in silence.
//
// It is pure: text in, values out. It may import pkg/spec and pkg/network.
package convert

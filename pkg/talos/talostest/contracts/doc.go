// Package contracts holds the ready patches, and what sriovctl apply makes of
// them, against the code of one version of Talos. Each module in test/contracts
// runs it with the machinery of its version, because one Go module can link one
// version only.
//
// It is for tests. It may import the Talos machinery, as far as all of these
// versions have it alike, and pkg/machineconfig.
package contracts

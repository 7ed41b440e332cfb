// Package contracts tests the ready patches with the machinery of Talos 1.14.
package contracts

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest/contracts"
)

func TestContracts(t *testing.T) {
	contracts.Run(t, "1.14", "../../..")
}

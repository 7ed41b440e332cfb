package contracts_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/talos/talostest/contracts"
)

// TestContracts runs with the version that sriovctl itself links.
func TestContracts(t *testing.T) {
	contracts.Run(t, "1.13", "../../../..")
}

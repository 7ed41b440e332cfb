package talos_test

import (
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/machine"
)

// TestRemove: the patch by which docs/install.md takes the config away.
func TestRemove(t *testing.T) {
	base := generated(t, "1.13", machine.TypeWorker)
	with, err := merge(t, base, patchFiles(t, ".")["connectx7-rdma.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	without, err := merge(t, with, []byte(`{"apiVersion":"v1alpha1","kind":"ExtensionServiceConfig","name":"sriov","$patch":"delete"}`))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(without), "ExtensionServiceConfig") {
		t.Errorf("the config is still there:\n%s", without)
	}
}

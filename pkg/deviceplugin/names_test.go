package deviceplugin_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

func TestNames(t *testing.T) {
	const dir = "/var/lib/kubelet/device-plugins"
	for _, tc := range []struct{ resource, socket, env string }{
		{"nvidia.com/cx7_qsfp", "nvidia.com_cx7_qsfp.sock", "PCIDEVICE_NVIDIA_COM_CX7_QSFP"},
		{"intel.com/a-b", "intel.com_a-b.sock", "PCIDEVICE_INTEL_COM_A-B"},
		{"a.b.c/D", "a.b.c_D.sock", "PCIDEVICE_A_B_C_D"},
		{"a.b/" + strings.Repeat("x", 63), "a.b_" + strings.Repeat("x", 63) + ".sock", "PCIDEVICE_A_B_" + strings.Repeat("X", 63)},
	} {
		if got := deviceplugin.SocketName(dir, tc.resource); got != tc.socket {
			t.Errorf("socket of %s is %s, want %s", tc.resource, got, tc.socket)
		}
		if got := spec.EnvName(tc.resource); got != tc.env {
			t.Errorf("variable of %s is %s, want %s", tc.resource, got, tc.env)
		}
	}
}

func TestSocketNameOfLongResource(t *testing.T) {
	a := deviceplugin.SocketName("/k", strings.Repeat("a", 100)+".com/x")
	b := deviceplugin.SocketName("/k", strings.Repeat("a", 100)+".com/y")
	if a == b || len(a) > 30 || !strings.HasSuffix(a, ".sock") {
		t.Errorf("got %s and %s", a, b)
	}
	if again := deviceplugin.SocketName("/k", strings.Repeat("a", 100)+".com/x"); again != a {
		t.Errorf("got %s, then %s", a, again)
	}
}

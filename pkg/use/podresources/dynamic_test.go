package podresources

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/talos-sriov/talos-sriov/pkg/pci"
)

func TestAddresses(t *testing.T) {
	for name, want := range map[string][]string{
		"0000-21-10-0":                         {"0000:21:10.0"},
		"pci-0000-8a-00-1":                     {"0000:8a:00.1"},
		"pci0000-8a-00-1":                      {"0000:8a:00.1"},
		"0000-03-00-0-0x56c0":                  {"0000:03:00.0"},
		"0000:21:1f.7":                         {"0000:21:1f.7"},
		"0000_21_10_0":                         {"0000:21:10.0"},
		"0000-C3-10-0":                         {"0000:c3:10.0"},
		"10000-e1-00-0":                        {"10000:e1:00.0"},
		"00000000-21-10-0":                     {"0000:21:10.0"},
		"0000-21-10-0-0000-21-10-1":            {"0000:21:10.0", "0000:21:10.1"},
		"vendor.example.com/vf=0000-21-10-0":   {"0000:21:10.0"},
		"vf-0000-21-10-0_vf-0000-21-10-2":      {"0000:21:10.0", "0000:21:10.2"},
		"":                                     nil,
		"gpu-0":                                nil,
		"ens1f0np0":                            nil,
		"mlx5-core-sf-4":                       nil,
		"000-21-10-0":                          nil,
		"000000000-21-10-0":                    nil,
		"0000-21-20-0":                         nil, // no such device number
		"0000-21-10-8":                         nil, // no such function
		"0000-21-10-0a":                        nil,
		"0000-21-10":                           nil,
		"0000-121-10-0":                        nil,
		"6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f": nil, // a UID
		"sriovnetwork.k8snetworkplumbingwg.io/vf=6f2d3a1e-0000-4b0c-9d5e-0a1b2c3d4e5f-0000-21-10-0": {"0000:21:10.0"},
	} {
		if d := cmp.Diff(want, addresses(name)); d != "" {
			t.Errorf("%q: %s", name, d)
		}
	}
}

// A result of a claim as the kubelet lists it: the CDI names of one driver's devices add
// up, and one of them is the pod's own.
func TestClaimed(t *testing.T) {
	const kind = "sriovnetwork.k8snetworkplumbingwg.io/vf="
	r := &podresourcesv1.ClaimResource{
		DriverName: "sriovnetwork.k8snetworkplumbingwg.io", PoolName: "worker-1", DeviceName: "0000-21-10-2",
		CdiDevices: []*podresourcesv1.CDIDevice{
			{Name: kind + "6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f-0000-21-10-0"}, {Name: kind + "0c9be871-0f7a-4f3e-8a53-1d2c3b4a5968"},
			{Name: kind + "6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f-0000-21-10-2"},
		},
	}
	ids, driver := claimed(r)
	if d := cmp.Diff([]string{"0000:21:10.0", "0000:21:10.2"}, ids); d != "" || driver != "sriovnetwork.k8snetworkplumbingwg.io" {
		t.Errorf("by %q: %s", driver, d)
	}
	for _, name := range []string{"", "example.com/vf"} {
		if _, driver := claimed(&podresourcesv1.ClaimResource{DriverName: name}); driver == "" || driver == name {
			t.Errorf("driver %q may be a resource of ours", driver)
		}
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add("0000-21-10-0", uint32(0), byte(0x21), byte(0x80))
	f.Add("vendor/class=6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f-0000-21-10-0", uint32(0x10000), byte(0xff), byte(0xff))
	f.Add("0000-0000-21-10-", uint32(1), byte(0), byte(7))
	f.Fuzz(func(t *testing.T, name string, domain uint32, bus, rest byte) {
		for _, a := range addresses(name) {
			if !pci.Valid(a) {
				t.Errorf("%q: %q is no address", name, a)
			}
		}
		a := pci.Address{Domain: domain, Bus: bus, Device: rest >> 3, Function: rest & 7}
		written := fmt.Sprintf("%04x-%02x-%02x-%d", domain, a.Bus, a.Device, a.Function)
		if got := addresses("x/" + name + "=" + written); !slices.Contains(got, a.String()) {
			t.Errorf("%q and %q: %q", name, written, got)
		}
	})
}

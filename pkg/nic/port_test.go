package nic_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
)

func TestParsePort(t *testing.T) {
	wire, other := nic.Port{VF: -1}, nic.Port{Representor: true, VF: -1}
	for name, want := range map[string]nic.Port{
		"": wire, "p0": wire, "p0s1": wire, "p12s3": wire, "eth0": wire, "n0": wire, "sf": wire, "vf": wire, "c": wire, "c1": wire, "c1p0": wire,
		"pf0vfx": wire, "pf0vf": wire, "pf0xf1": wire, "pf0vf1x": wire, "xpf0vf1": wire, "pf0vf-1": wire, "pf0vf99999999999999999999": wire,
		"pf0": other, "pf1": other, "c1pf0": other, "pf0sf88": other, "c12pf3sf4": other, "c1pf0vf3": other,
		"pf0vf0":   {Representor: true, VF: 0},
		"pf1vf127": {Representor: true, VF: 127},
	} {
		if got := nic.ParsePort(name); got != want {
			t.Errorf("ParsePort(%q) = %+v, want %+v", name, got, want)
		}
	}
}

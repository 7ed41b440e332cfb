package nic_test

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/nic"
)

func TestParsePort(t *testing.T) {
	for name, want := range map[string]nic.Port{
		"": {}, "p0": {}, "p0s1": {}, "p12s3": {}, "eth0": {}, "n0": {}, "sf": {}, "vf": {}, "pf": {}, "c": {}, "c1": {}, "c1p0": {},
		"pf0vfx": {}, "pf0vf": {}, "pf0xf1": {}, "pf0vf1x": {}, "xpf0vf1": {}, "pf0vf-1": {}, "pf0vf99999999999999999999": {},
		"pf0":       {Kind: nic.PortPF},
		"c1pf0":     {Kind: nic.PortPF, External: true},
		"pf0vf0":    {Kind: nic.PortVF},
		"pf1vf127":  {Kind: nic.PortVF, Index: 127},
		"c1pf0vf3":  {Kind: nic.PortVF, Index: 3, External: true},
		"pf0sf88":   {Kind: nic.PortSF, Index: 88},
		"c12pf3sf4": {Kind: nic.PortSF, Index: 4, External: true},
	} {
		got := nic.ParsePort(name)
		if got != want {
			t.Errorf("ParsePort(%q) = %+v, want %+v", name, got, want)
		}
		if got.Representor() != (want.Kind != nic.PortOther) {
			t.Errorf("%q: representor %v", name, got.Representor())
		}
	}
}

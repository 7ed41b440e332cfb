package vfrules_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/vfrules"
)

// texts are the problems as a caller prints them.
func texts(list []vfrules.Problem) []string {
	var out []string
	for _, p := range list {
		s := p.Text
		if p.Part != "" {
			s = string(p.Part) + ": " + s
		}
		out = append(out, s)
	}
	return out
}

func TestRules(t *testing.T) {
	mac := func(s string) net.HardwareAddr {
		a, err := net.ParseMAC(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, tc := range map[string]struct {
		got  []vfrules.Problem
		want []string
	}{
		"MTU, lowest":           {vfrules.MTU(68), nil},
		"MTU, highest":          {vfrules.MTU(65535), nil},
		"MTU, too low":          {vfrules.MTU(67), []string{"67 is out of range: 68 to 65535 bytes"}},
		"MTU, too high":         {vfrules.MTU(65536), []string{"65536 is out of range: 68 to 65535 bytes"}},
		"VLAN, none":            {vfrules.VLAN(0, 0, ""), nil},
		"VLAN, highest":         {vfrules.VLAN(4094, 7, "802.1ad"), nil},
		"VLAN, reserved":        {vfrules.VLAN(4095, 0, "802.1q"), []string{"id: 4095 is out of range: 0 to 4094"}},
		"VLAN, negative":        {vfrules.VLAN(-1, -1, ""), []string{"id: -1 is out of range: 0 to 4094", "qos: -1 is out of range: 0 to 7"}},
		"priority, too high":    {vfrules.VLAN(1, 8, ""), []string{"qos: 8 is out of range: 0 to 7"}},
		"priority without VLAN": {vfrules.VLAN(0, 1, ""), []string{"qos: a priority has no effect without a VLAN, and VLAN 0 is none"}},
		"protocol":              {vfrules.VLAN(1, 0, "802.1x"), []string{`protocol: want 802.1q or 802.1ad, found "802.1x"`}},
		"protocol, upper case":  {vfrules.VLAN(1, 0, "802.1AD"), []string{`protocol: want 802.1q or 802.1ad, found "802.1AD"`}},
		"protocol without VLAN": {vfrules.VLAN(0, 0, "802.1ad"), []string{"protocol: 802.1ad has no effect without a VLAN, and VLAN 0 is none"}},
		"no limit":              {vfrules.Rate(0, 0), nil},
		"rate, low only":        {vfrules.Rate(5, 0), nil},
		"rate, equal":           {vfrules.Rate(5, 5), nil},
		"rate, highest":         {vfrules.Rate(0, 1<<31-1), nil},
		"rate, too high":        {vfrules.Rate(1<<31, 1<<31), []string{"min: 2147483648 is out of range: 0 to 2147483647 Mbit/s", "max: 2147483648 is out of range: 0 to 2147483647 Mbit/s"}},
		"rate, negative":        {vfrules.Rate(-1, 0), []string{"min: -1 is out of range: 0 to 2147483647 Mbit/s"}},
		"rate, crossed":         {vfrules.Rate(6, 5), []string{"min: the guaranteed rate 6 is above the limit 5"}},
		"link state":            {vfrules.LinkState("disable"), nil},
		"link state, none":      {vfrules.LinkState(""), []string{`want auto, enable or disable, found ""`}},
		"link state, Auto":      {vfrules.LinkState("Auto"), []string{`want auto, enable or disable, found "Auto"`}},
		"MAC":                   {vfrules.Address(mac("02:00:00:00:00:01")), nil},
		"MAC, zero":             {vfrules.Address(mac("00:00:00:00:00:00")), []string{"the address is all zero"}},
		"MAC, multicast":        {vfrules.Address(mac("01:00:5e:00:00:01")), []string{"01:00:5e:00:00:01 is a multicast address"}},
		"MAC, broadcast":        {vfrules.Address(mac("ff:ff:ff:ff:ff:ff")), []string{"ff:ff:ff:ff:ff:ff is a multicast address"}},
		"GUID":                  {vfrules.Address(mac("01:00:00:00:00:00:00:01")), nil},
		"GUID, ones":            {vfrules.Address(mac("ff:ff:ff:ff:ff:ff:ff:ff")), []string{"the address is all ones"}},
	} {
		if diff := cmp.Diff(tc.want, texts(tc.got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOrList(t *testing.T) {
	for want, in := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := vfrules.OrList(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

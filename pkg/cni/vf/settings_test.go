package vf_test

import (
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/cni/vf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// fresh is a VF as its driver makes it.
func fresh() nl.VFInfo {
	return nl.VFInfo{MAC: make(net.HardwareAddr, 6), VLANProto: nl.Proto8021Q, SpoofCheck: new(true), Trust: new(false)}
}

// texts are settings as "ATTRIBUTE: now -> then".
func texts(list []vf.Setting, cur nl.VFInfo) (out []string) {
	for _, s := range list {
		out = append(out, string(s.Attribute)+": "+s.Text(cur)+" -> "+s.Text(s.Want))
	}
	return out
}

func TestWanted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		conf netconf.NetConf
		cur  func(*nl.VFInfo)
		want []string
	}{
		"nothing":        {},
		"vlan":           {conf: netconf.NetConf{VLAN: new(5), VLANQoS: new(3)}, want: []string{"vlan: 0 (priority 0, protocol 0x8100) -> 5 (priority 3, protocol 0x8100)"}},
		"vlan 0, no tag": {conf: netconf.NetConf{VLAN: new(0), VLANProto: new("802.1Q")}, cur: func(v *nl.VFInfo) { v.VLANProto = nl.Proto8021AD }},
		"the protocol alone": {conf: netconf.NetConf{VLAN: new(5), VLANProto: new("802.1ad")}, cur: func(v *nl.VFInfo) { v.VLAN = 5 },
			want: []string{"vlan: 5 (priority 0, protocol 0x8100) -> 5 (priority 0, protocol 0x88a8)"}},
		"the same MAC in other letters": {conf: netconf.NetConf{MAC: "02-00-00-00-00-AA"}, cur: func(v *nl.VFInfo) { v.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xaa} }},
		"rate":                          {conf: netconf.NetConf{MaxTxRate: new(100)}, want: []string{"rate: 0 to 0 Mbit/s -> 0 to 100 Mbit/s"}},
		"what is not reported is written": {conf: netconf.NetConf{SpoofChk: "on", Trust: "off"}, cur: func(v *nl.VFInfo) { v.SpoofCheck, v.Trust = nil, nil },
			want: []string{"spoofchk: not reported -> on", "trust: not reported -> off"}},
		"as it is":   {conf: netconf.NetConf{SpoofChk: "on", Trust: "off", LinkState: "auto", MinTxRate: new(0)}},
		"link state": {conf: netconf.NetConf{LinkState: "disable"}, want: []string{"link_state: auto -> disable"}},
	} {
		t.Run(name, func(t *testing.T) {
			cur := fresh()
			if tc.cur != nil {
				tc.cur(&cur)
			}
			if diff := cmp.Diff(tc.want, texts(vf.Wanted(&tc.conf, cur), cur)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Only what the configuration may have changed is restored, and the MAC.
func TestRestored(t *testing.T) {
	t.Parallel()
	other := nl.VFInfo{
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, VLAN: 5, VLANProto: nl.Proto8021Q, MinRate: 1, MaxRate: 2,
		SpoofCheck: new(false), Trust: new(true), LinkState: nl.LinkStateDisable,
	}
	was := fresh()
	everything := netconf.NetConf{VLAN: new(5), MaxTxRate: new(2), SpoofChk: "off", Trust: "on", LinkState: "disable"}
	for name, tc := range map[string]struct {
		conf  netconf.NetConf
		extra attachment.Extra
		cur   nl.VFInfo
		want  []attachment.Attribute
	}{
		"everything":               {conf: everything, cur: other, want: []attachment.Attribute{attachment.VLAN, attachment.SpoofCheck, attachment.MAC, attachment.Trust, attachment.Rate, attachment.LinkState}},
		"it is as it was":          {conf: everything, cur: was},
		"nothing was asked for":    {cur: other, want: []attachment.Attribute{attachment.MAC}},
		"trusted for a moment":     {extra: attachment.Extra{TrustRaised: true}, cur: other, want: []attachment.Attribute{attachment.MAC, attachment.Trust}},
		"never reported, now safe": {conf: netconf.NetConf{SpoofChk: "on"}, extra: attachment.Extra{Unreported: []attachment.Attribute{attachment.SpoofCheck}}, cur: was},
	} {
		t.Run(name, func(t *testing.T) {
			a := &attachment.Attachment{NetConf: tc.conf, Extra: tc.extra}
			a.Original, _ = attachment.Attributes(was)
			var got []attachment.Attribute
			for _, s := range vf.Restored(a, tc.cur) {
				got = append(got, s.Attribute)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("restored %v, want %v", got, tc.want)
			}
		})
	}
	// What a driver neither reported nor reports becomes safe, and it may not know it.
	a := &attachment.Attachment{NetConf: netconf.NetConf{SpoofChk: "off", Trust: "on"}, Extra: attachment.Extra{Unreported: []attachment.Attribute{attachment.SpoofCheck, attachment.Trust}}}
	a.Original, _ = attachment.Attributes(was)
	a.Original.SpoofChk, a.Original.Trust = false, true // no knowledge
	silent := was
	silent.SpoofCheck, silent.Trust = nil, nil
	restored := vf.Restored(a, silent)
	if diff := cmp.Diff([]string{"spoofchk: not reported -> on", "trust: not reported -> off"}, texts(restored, silent)); diff != "" {
		t.Error(diff)
	}
	for _, s := range restored {
		if s.Reported(silent) || !s.Reported(was) {
			t.Errorf("%s: reported %v, with a value %v", s.Attribute, s.Reported(silent), s.Reported(was))
		}
	}
}

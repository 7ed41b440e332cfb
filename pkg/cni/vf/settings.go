package vf

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// Setter sets the attributes of a PF's VFs.
type Setter interface {
	SetVFMAC(ctx context.Context, pf nl.LinkRef, vf int, mac net.HardwareAddr) error
	SetVFVLAN(ctx context.Context, pf nl.LinkRef, vf int, vlan nl.VLAN) error
	SetVFRate(ctx context.Context, pf nl.LinkRef, vf, minRate, maxRate int) error
	SetVFSpoofCheck(ctx context.Context, pf nl.LinkRef, vf int, on bool) error
	SetVFTrust(ctx context.Context, pf nl.LinkRef, vf int, on bool) error
	SetVFLinkState(ctx context.Context, pf nl.LinkRef, vf int, state nl.LinkState) error
}

// Setting is one attribute of a VF to set through its PF.
type Setting struct {
	Attribute attachment.Attribute
	Want      nl.VFInfo // nothing but the attribute counts
}

// Apply writes the setting.
func (s Setting) Apply(ctx context.Context, host Setter, v VF) error {
	want, pf := s.Want, v.PFRef()
	switch s.Attribute {
	case attachment.VLAN:
		return host.SetVFVLAN(ctx, pf, v.Index, nl.VLAN{ID: want.VLAN, QoS: want.QoS, Proto: want.VLANProto})
	case attachment.MAC:
		return host.SetVFMAC(ctx, pf, v.Index, want.MAC)
	case attachment.Rate:
		return host.SetVFRate(ctx, pf, v.Index, want.MinRate, want.MaxRate)
	case attachment.SpoofCheck:
		return host.SetVFSpoofCheck(ctx, pf, v.Index, *want.SpoofCheck)
	case attachment.Trust:
		return host.SetVFTrust(ctx, pf, v.Index, *want.Trust)
	}
	return host.SetVFLinkState(ctx, pf, v.Index, want.LinkState)
}

// ClearsMAC reports whether the setting takes the VF's MAC away, which some drivers
// cannot.
func (s Setting) ClearsMAC() bool { return s.Attribute == attachment.MAC && IsZero(s.Want.MAC) }

// Reported reports whether the VF's driver says what the attribute is now. One that
// does not may not know it at all.
func (s Setting) Reported(cur nl.VFInfo) bool {
	switch s.Attribute {
	case attachment.SpoofCheck:
		return cur.SpoofCheck != nil
	case attachment.Trust:
		return cur.Trust != nil
	}
	return true
}

// IsZero reports whether the address has nothing but zeros: none is set.
func IsZero(mac net.HardwareAddr) bool {
	return !slices.ContainsFunc(mac, func(b byte) bool { return b != 0 })
}

// Text is the attribute as v has it, for people.
func (s Setting) Text(v nl.VFInfo) string {
	switch s.Attribute {
	case attachment.VLAN:
		return fmt.Sprintf("%d (priority %d, protocol %#x)", v.VLAN, v.QoS, v.VLANProto)
	case attachment.MAC:
		return v.MAC.String()
	case attachment.Rate:
		return fmt.Sprintf("%d to %d Mbit/s", v.MinRate, v.MaxRate)
	case attachment.SpoofCheck:
		return onOffName(v.SpoofCheck)
	case attachment.Trust:
		return onOffName(v.Trust)
	}
	return v.LinkState.String()
}

// has reports whether the setting is what the VF has now. What its driver does not
// report is not known to be.
func (s Setting) has(cur nl.VFInfo) bool {
	want := s.Want
	switch s.Attribute {
	case attachment.VLAN: // without a tag there is no protocol
		return want.VLAN == cur.VLAN && want.QoS == cur.QoS &&
			(want.VLAN == 0 || cur.VLANProto == 0 || want.VLANProto == cur.VLANProto)
	case attachment.MAC:
		return bytes.Equal(want.MAC, cur.MAC)
	case attachment.Rate:
		return want.MinRate == cur.MinRate && want.MaxRate == cur.MaxRate
	case attachment.SpoofCheck:
		return is(cur.SpoofCheck, *want.SpoofCheck)
	case attachment.Trust:
		return is(cur.Trust, *want.Trust)
	}
	return want.LinkState == cur.LinkState
}

func onOffName(on *bool) string {
	switch {
	case on == nil:
		return "not reported"
	case *on:
		return "on"
	}
	return "off"
}

// changed is an attribute, and whether it is to be set.
type changed struct {
	attribute attachment.Attribute
	set       bool
}

// differing are the settings of those that are to be set and that the VF does not have.
func differing(want, cur nl.VFInfo, list ...changed) []Setting {
	var out []Setting
	for _, c := range list {
		if s := (Setting{c.attribute, want}); c.set && !s.has(cur) {
			out = append(out, s)
		}
	}
	return out
}

// Wanted are the attributes that the configuration asks for and the VF does
// not have, in sriov-cni's order. A value that is there already is not written:
// some drivers refuse that (link state on igb), and an explicit vlan 0
// must not undo a trunk.
func Wanted(c *netconf.NetConf, cur nl.VFInfo) []Setting {
	mac, noMAC := net.ParseMAC(c.MAC)
	want := nl.VFInfo{
		VLAN: netconf.Number(c.VLAN), QoS: netconf.Number(c.VLANQoS), VLANProto: protoNumber(c.VLANProto), MAC: mac,
		MinRate: netconf.Number(c.MinTxRate), MaxRate: netconf.Number(c.MaxTxRate),
		SpoofCheck: new(c.SpoofChk == "on"), Trust: new(c.Trust == "on"), LinkState: nl.LinkStateNamed(c.LinkState),
	}
	return differing(want, cur,
		changed{attachment.VLAN, c.VLAN != nil},
		changed{attachment.MAC, noMAC == nil},
		changed{attachment.Rate, c.MinTxRate != nil || c.MaxTxRate != nil},
		changed{attachment.SpoofCheck, c.SpoofChk != ""},
		changed{attachment.Trust, c.Trust != ""},
		changed{attachment.LinkState, c.LinkState != ""})
}

// Restored are what brings the VF back to what it was before the attachment:
// what the configuration may have changed and is not as it was, and the MAC in
// any case (a pod's program may have had it changed). Where the driver did not
// report the original value of spoof check or trust, the safe one is taken.
func Restored(a *attachment.Attachment, cur nl.VFInfo) []Setting {
	orig := a.Original
	unreported := func(what attachment.Attribute) bool { return slices.Contains(a.Extra.Unreported, what) }
	mac, noMAC := net.ParseMAC(orig.AdminMAC)
	was := nl.VFInfo{
		VLAN: orig.VLAN, QoS: orig.VLANQoS, VLANProto: cmp.Or(uint16(orig.VLANProto), nl.Proto8021Q), MAC: mac,
		MinRate: orig.MinTxRate, MaxRate: orig.MaxTxRate, LinkState: nl.LinkState(orig.LinkState),
		SpoofCheck: new(orig.SpoofChk || unreported(attachment.SpoofCheck)),
		Trust:      new(orig.Trust && !unreported(attachment.Trust)),
	}
	return differing(was, cur,
		changed{attachment.VLAN, a.VLAN != nil},
		changed{attachment.SpoofCheck, a.SpoofChk != ""},
		changed{attachment.MAC, noMAC == nil},
		changed{attachment.Trust, a.Trust != "" || a.Extra.TrustRaised},
		changed{attachment.Rate, a.MinTxRate != nil || a.MaxTxRate != nil},
		changed{attachment.LinkState, a.LinkState != ""})
}

func is(p *bool, v bool) bool { return p != nil && *p == v }

func protoNumber(name *string) uint16 {
	if name != nil && strings.EqualFold(*name, netconf.Proto8021AD) {
		return nl.Proto8021AD
	}
	return nl.Proto8021Q
}

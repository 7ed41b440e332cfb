package vf

import (
	"bytes"
	"cmp"
	"context"
	"errors"
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
	Attribute attachment.Attribute // decides which of the others counts
	VLAN      nl.VLAN
	MAC       net.HardwareAddr
	Rate      Rate
	On        bool // spoof check, trust
	LinkState nl.LinkState
	// Lenient: the attribute may never have been set, because the driver does
	// not know it, and does not report that either.
	Lenient bool
}

// Rate is in Mbit/s; as highest rate 0 is no limit.
type Rate struct{ Min, Max int }

// Apply writes the setting.
func (s Setting) Apply(ctx context.Context, host Setter, v VF) error {
	var err error
	switch pf := v.PFRef(); s.Attribute {
	case attachment.VLAN:
		err = host.SetVFVLAN(ctx, pf, v.Index, s.VLAN)
	case attachment.MAC:
		err = host.SetVFMAC(ctx, pf, v.Index, s.MAC)
	case attachment.Rate:
		err = host.SetVFRate(ctx, pf, v.Index, s.Rate.Min, s.Rate.Max)
	case attachment.SpoofCheck:
		err = host.SetVFSpoofCheck(ctx, pf, v.Index, s.On)
	case attachment.Trust:
		err = host.SetVFTrust(ctx, pf, v.Index, s.On)
	case attachment.LinkState:
		err = host.SetVFLinkState(ctx, pf, v.Index, s.LinkState)
	}
	if s.Lenient && errors.Is(err, nl.ErrUnsupported) {
		return nil
	}
	return err
}

// ClearsMAC reports whether the setting takes the VF's MAC away, which some drivers
// cannot.
func (s Setting) ClearsMAC() bool { return s.Attribute == attachment.MAC && IsZero(s.MAC) }

// IsZero reports whether the address has nothing but zeros: none is set.
func IsZero(mac net.HardwareAddr) bool {
	return !slices.ContainsFunc(mac, func(b byte) bool { return b != 0 })
}

// Text is the value for people.
func (s Setting) Text() string {
	switch s.Attribute {
	case attachment.VLAN:
		return fmt.Sprintf("%d (priority %d, protocol %#x)", s.VLAN.ID, s.VLAN.QoS, s.VLAN.Proto)
	case attachment.MAC:
		return s.MAC.String()
	case attachment.Rate:
		return fmt.Sprintf("%d to %d Mbit/s", s.Rate.Min, s.Rate.Max)
	case attachment.LinkState:
		return s.LinkState.String()
	}
	return onOffName(&s.On)
}

// Present is the value that the VF has now, for people.
func (s Setting) Present(cur nl.VFInfo) string {
	switch s.Attribute {
	case attachment.SpoofCheck:
		return onOffName(cur.SpoofCheck)
	case attachment.Trust:
		return onOffName(cur.Trust)
	}
	now := Setting{
		Attribute: s.Attribute, MAC: cur.MAC, Rate: Rate{cur.MinRate, cur.MaxRate}, LinkState: cur.LinkState,
		VLAN: nl.VLAN{ID: cur.VLAN, QoS: cur.QoS, Proto: cur.VLANProto},
	}
	return now.Text()
}

// has reports whether the setting is what the VF has now. What its driver does not
// report is not known to be.
func (s Setting) has(cur nl.VFInfo) bool {
	switch s.Attribute {
	case attachment.VLAN:
		return sameVLAN(s.VLAN, cur)
	case attachment.MAC:
		return bytes.Equal(s.MAC, cur.MAC)
	case attachment.Rate:
		return s.Rate == Rate{cur.MinRate, cur.MaxRate}
	case attachment.SpoofCheck:
		return is(cur.SpoofCheck, s.On)
	case attachment.Trust:
		return is(cur.Trust, s.On)
	}
	return s.LinkState == cur.LinkState
}

// without leaves out the settings that the VF has.
func without(cur nl.VFInfo, settings []Setting) []Setting {
	return slices.DeleteFunc(settings, func(s Setting) bool { return s.has(cur) })
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

// Wanted are the attributes that the configuration asks for and the VF does
// not have, in sriov-cni's order. A value that is there already is not written:
// some drivers refuse that (link state on igb), and an explicit vlan 0
// must not undo a trunk.
func Wanted(c *netconf.NetConf, cur nl.VFInfo) []Setting {
	var out []Setting
	if c.VLAN != nil {
		vlan := nl.VLAN{ID: *c.VLAN, QoS: netconf.Number(c.VLANQoS), Proto: protoNumber(c.VLANProto)}
		out = append(out, Setting{Attribute: attachment.VLAN, VLAN: vlan})
	}
	if mac, err := net.ParseMAC(c.MAC); err == nil {
		out = append(out, Setting{Attribute: attachment.MAC, MAC: mac})
	}
	if c.MinTxRate != nil || c.MaxTxRate != nil {
		rate := Rate{netconf.Number(c.MinTxRate), netconf.Number(c.MaxTxRate)}
		out = append(out, Setting{Attribute: attachment.Rate, Rate: rate})
	}
	if c.SpoofChk != "" {
		out = append(out, Setting{Attribute: attachment.SpoofCheck, On: c.SpoofChk == "on"})
	}
	if c.Trust != "" {
		out = append(out, Setting{Attribute: attachment.Trust, On: c.Trust == "on"})
	}
	if c.LinkState != "" {
		out = append(out, Setting{Attribute: attachment.LinkState, LinkState: linkState(c.LinkState)})
	}
	return without(cur, out)
}

// Restored are what brings the VF back to what it was before the attachment:
// what the configuration may have changed and is not as it was, and the MAC in
// any case (a pod's program may have had it changed). Where the driver did not
// report the original value of spoof check or trust, the safe one is taken.
func Restored(a *attachment.Attachment, cur nl.VFInfo) []Setting {
	var out []Setting
	orig := a.Original
	unreported := func(what attachment.Attribute) bool { return slices.Contains(a.Extra.Unreported, what) }
	if a.VLAN != nil {
		vlan := nl.VLAN{ID: orig.VLAN, QoS: orig.VLANQoS, Proto: cmp.Or(uint16(orig.VLANProto), nl.Proto8021Q)}
		out = append(out, Setting{Attribute: attachment.VLAN, VLAN: vlan})
	}
	if a.SpoofChk != "" {
		on := orig.SpoofChk || unreported(attachment.SpoofCheck)
		out = append(out, Setting{Attribute: attachment.SpoofCheck, On: on, Lenient: cur.SpoofCheck == nil})
	}
	if mac, err := net.ParseMAC(orig.AdminMAC); err == nil {
		out = append(out, Setting{Attribute: attachment.MAC, MAC: mac})
	}
	if a.Trust != "" || a.Extra.TrustRaised {
		on := orig.Trust && !unreported(attachment.Trust)
		out = append(out, Setting{Attribute: attachment.Trust, On: on, Lenient: cur.Trust == nil})
	}
	if a.MinTxRate != nil || a.MaxTxRate != nil {
		out = append(out, Setting{Attribute: attachment.Rate, Rate: Rate{orig.MinTxRate, orig.MaxTxRate}})
	}
	if a.LinkState != "" {
		out = append(out, Setting{Attribute: attachment.LinkState, LinkState: nl.LinkState(orig.LinkState)})
	}
	return without(cur, out)
}

func is(p *bool, v bool) bool { return p != nil && *p == v }

// sameVLAN compares what matters: without a tag there is no protocol.
func sameVLAN(want nl.VLAN, cur nl.VFInfo) bool {
	if want.ID != cur.VLAN || want.QoS != cur.QoS {
		return false
	}
	return want.ID == 0 || cur.VLANProto == 0 || want.Proto == cur.VLANProto
}

func protoNumber(name *string) uint16 {
	if name != nil && strings.EqualFold(*name, netconf.Proto8021AD) {
		return nl.Proto8021AD
	}
	return nl.Proto8021Q
}

func linkState(name string) nl.LinkState {
	switch name {
	case "enable":
		return nl.LinkStateEnable
	case "disable":
		return nl.LinkStateDisable
	}
	return nl.LinkStateAuto
}

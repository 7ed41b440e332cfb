package cni

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// setting is one attribute of a VF to set through its PF.
type setting struct {
	kind     string // vlan | mac | rate | spoofchk | trust | link_state
	vlan     nl.VLAN
	mac      net.HardwareAddr
	min, max int // Mbit/s
	on       bool
	state    nl.LinkState
	// lenient: the attribute may never have been set, because the driver does
	// not know it, and does not report that either.
	lenient bool
}

func (s setting) apply(ctx context.Context, host NS, pf nl.LinkRef, vf int) error {
	var err error
	switch s.kind {
	case "vlan":
		err = host.SetVFVLAN(ctx, pf, vf, s.vlan)
	case "mac":
		err = host.SetVFMAC(ctx, pf, vf, s.mac)
	case "rate":
		err = host.SetVFRate(ctx, pf, vf, s.min, s.max)
	case "spoofchk":
		err = host.SetVFSpoofCheck(ctx, pf, vf, s.on)
	case "trust":
		err = host.SetVFTrust(ctx, pf, vf, s.on)
	case "link_state":
		err = host.SetVFLinkState(ctx, pf, vf, s.state)
	}
	if s.lenient && errors.Is(err, nl.ErrUnsupported) {
		return nil
	}
	return err
}

// settings are the attributes that the configuration asks for and the VF does
// not have, in sriov-cni's order. A value that is there already is not written:
// some drivers refuse to hear of it (link state on igb), and an explicit vlan 0
// must not undo a trunk.
func settings(c *NetConf, mac string, cur nl.VFInfo) []setting {
	var out []setting
	if c.VLAN != nil {
		want := nl.VLAN{ID: *c.VLAN, QoS: number(c.VLANQoS), Proto: protoNumber(c.VLANProto)}
		if !sameVLAN(want, cur) {
			out = append(out, setting{kind: "vlan", vlan: want})
		}
	}
	if want, err := net.ParseMAC(mac); err == nil && !bytes.Equal(want, cur.MAC) {
		out = append(out, setting{kind: "mac", mac: want})
	}
	if c.MinTxRate != nil || c.MaxTxRate != nil {
		if lo, hi := number(c.MinTxRate), number(c.MaxTxRate); lo != cur.MinRate || hi != cur.MaxRate {
			out = append(out, setting{kind: "rate", min: lo, max: hi})
		}
	}
	if on := c.SpoofChk == "on"; c.SpoofChk != "" && !is(cur.SpoofCheck, on) {
		out = append(out, setting{kind: "spoofchk", on: on})
	}
	if on := c.Trust == "on"; c.Trust != "" && !is(cur.Trust, on) {
		out = append(out, setting{kind: "trust", on: on})
	}
	if c.LinkState != "" && linkState(c.LinkState) != cur.LinkState {
		out = append(out, setting{kind: "link_state", state: linkState(c.LinkState)})
	}
	return out
}

// resets are what brings the VF back to what it was before the attachment:
// what the configuration may have changed and is not as it was, and the MAC in
// any case (a pod's program may have had it changed).
func resets(a *Attachment, cur nl.VFInfo) []setting {
	var out []setting
	orig := a.OrigVFState
	if a.VLAN != nil {
		was := nl.VLAN{ID: orig.VLAN, QoS: orig.VLANQoS, Proto: uint16(orig.VLANProto)}
		if was.Proto == 0 {
			was.Proto = nl.Proto8021Q
		}
		if !sameVLAN(was, cur) {
			out = append(out, setting{kind: "vlan", vlan: was})
		}
	}
	if a.SpoofChk != "" {
		out = append(out, restore("spoofchk", orig.SpoofChk, true, a, cur.SpoofCheck)...)
	}
	if was, err := net.ParseMAC(orig.AdminMAC); err == nil && !bytes.Equal(was, cur.MAC) {
		out = append(out, setting{kind: "mac", mac: was})
	}
	if a.Trust != "" || a.Extra.TrustRaised {
		out = append(out, restore("trust", orig.Trust, false, a, cur.Trust)...)
	}
	if (a.MinTxRate != nil || a.MaxTxRate != nil) && (cur.MinRate != orig.MinTxRate || cur.MaxRate != orig.MaxTxRate) {
		out = append(out, setting{kind: "rate", min: orig.MinTxRate, max: orig.MaxTxRate})
	}
	if state := nl.LinkState(orig.LinkState); a.LinkState != "" && state != cur.LinkState {
		out = append(out, setting{kind: "link_state", state: state})
	}
	return out
}

// restore sets spoofchk or trust back. When the driver does not report them the
// safe value is taken.
func restore(kind string, was, safe bool, a *Attachment, cur *bool) []setting {
	if slices.Contains(a.Extra.Unreported, kind) {
		was = safe
	}
	if is(cur, was) {
		return nil
	}
	return []setting{{kind: kind, on: was, lenient: cur == nil}}
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
	if name != nil && strings.EqualFold(*name, protoDot1AD) {
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

// original is the VF's present state as the cache keeps it.
func original(v nl.VFInfo) (o OrigState, unreported []string) {
	o = OrigState{
		AdminMAC: v.MAC.String(), VLAN: v.VLAN, VLANQoS: v.QoS, VLANProto: int(v.VLANProto),
		MinTxRate: v.MinRate, MaxTxRate: v.MaxRate, LinkState: uint32(v.LinkState),
	}
	if o.SpoofChk = is(v.SpoofCheck, true); v.SpoofCheck == nil {
		unreported = append(unreported, "spoofchk")
	}
	if o.Trust = is(v.Trust, true); v.Trust == nil {
		unreported = append(unreported, "trust")
	}
	return o, unreported
}

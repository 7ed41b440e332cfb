package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// This file defines, once, what shows that a PF does not carry the machine's own
// network (rule 8 of the reconcile contract, docs/architecture.md). Only positive
// evidence does, and it is one of:
//
//   - quiet: the kernel answers about the PF, it listed all interfaces, addresses and default routes, and
//     each interface of the PF is up, has a link, and has neither an address that
//     a node is reached by nor another interface on it; and it was so at every
//     look for some seconds (Watch). A PF without interfaces is quiet while its
//     driver is one that makes none;
//   - an earlier proof: the PF was quiet under the same config, and it is the
//     same card (record.PF.SafeSpec).
//
// Nothing else does. Time alone proves nothing, a default route through another
// interface proves nothing about this PF, and a port that is down or has no link
// may be the one that gets the machine's network when it is plugged in: such a PF
// waits until it is up or its entry says allowUplink.
//
// What cannot be seen: programs that use an interface through packet sockets, and
// interfaces above it in other network namespaces.

// Quiet are the PFs, by PCI address, that were quiet for long enough.
type Quiet map[string]bool

// QuietNow are the PFs that are quiet in this one snapshot: what a preview assumes to
// stay so.
func QuietNow(s *inventory.Snapshot) Quiet {
	out := Quiet{}
	if s == nil {
		return out
	}
	for i := range s.PFs {
		if evidenceOf(s, &s.PFs[i]).quiet {
			out[s.PFs[i].Address] = true
		}
	}
	return out
}

// Watch knows since when each PF has been quiet in every snapshot. It has no clock:
// its owner gives the time. The zero value has seen nothing.
type Watch struct {
	since map[string]sighting
}

// sighting is of one card with its interfaces: another one in its slot, and the
// same one with another interface, begins from the start.
type sighting struct {
	what string
	at   time.Time
}

// See takes in a snapshot of the machine that was made at the time now. It returns the
// PFs that have been quiet for at least wait, and how long it takes until the next
// one may have been; 0 when none is on its way.
func (w *Watch) See(s *inventory.Snapshot, now time.Time, wait time.Duration) (Quiet, time.Duration) {
	since, quiet, next := map[string]sighting{}, Quiet{}, time.Duration(0)
	for pf := range QuietNow(s) {
		seen := sighting{what: identity(s.PF(pf)), at: now}
		if before, ok := w.since[pf]; ok && before.what == seen.what && !before.at.After(now) {
			seen = before
		}
		since[pf] = seen
		if left := wait - now.Sub(seen.at); left <= 0 {
			quiet[pf] = true
		} else if next == 0 || left < next {
			next = left
		}
	}
	w.since = since
	return quiet, next
}

func identity(pf *inventory.PF) string {
	var b strings.Builder
	b.WriteString(pf.Vendor + ":" + pf.Device + " " + pf.Driver)
	for i := range pf.Netdevs {
		fmt.Fprintf(&b, " %d %s", pf.Netdevs[i].Index, pf.Netdevs[i].PermMAC)
	}
	return b.String()
}

// evidence is what one snapshot shows of a PF.
type evidence struct {
	quiet bool
	// missing is what is not as it is on a quiet PF, and hint what a person can do
	// about it; "" when quiet.
	missing, hint string
	// settling: what is missing normally comes within seconds. A cable or an address
	// may take as long as a person does.
	settling bool
}

func (ev evidence) settles() evidence {
	ev.settling = true
	return ev
}

const hintAllow = "set `allowUplink: true` in this entry if its VFs are to be made in any case"

// evidenceOf judges one snapshot. Where the PF is an uplink, it is not asked.
func evidenceOf(s *inventory.Snapshot, pf *inventory.PF) evidence {
	not := func(hint, format string, args ...any) evidence {
		return evidence{missing: fmt.Sprintf(format, args...), hint: hint}
	}
	switch n := &s.Network; {
	case pf.Uplink != "":
		return not(hintAllow, "it %s", pf.Uplink)
	case pf.Silent != "":
		return not("asked again by itself", "the kernel does not answer about it: %s", pf.Silent)
	case !n.Complete:
		return not("asked again by itself; "+hintAllow, "the kernel did not list all of it (%s)", n.Missing)
	case n.Hidden != "":
		return not(hintAllow, "%s carries it, and the kernel does not show over which interface", n.Hidden)
	case pf.Unlisted != "":
		return not("asked again by itself; "+hintAllow, "netlink does not list the interface %s", pf.Unlisted).settles()
	case pf.Upper != "":
		return not("take "+pf.Upper+" off this PF; or "+hintAllow, "%s is on top of this PF's interface", pf.Upper)
	case len(pf.Netdevs) == 0 && pf.Driver == "":
		return not(hintAllow, "no driver is bound to this PF, so nothing is known of its port").settles()
	case len(pf.Netdevs) == 0 && !noNetwork(pf):
		return not("is its interface still to appear, or was it moved to another network namespace? If not, "+hintAllow,
			"this PF has no interface here, and its driver %s makes one", pf.Driver).settles()
	}
	for i := range pf.Netdevs {
		switch d := &pf.Netdevs[i]; {
		case !d.AdminUp:
			return not("bring it up in the machine config; or "+hintAllow, "%s is down", d.Name)
		case !d.Carrier:
			return not("plug it in, or see to the other end; or "+hintAllow, "%s has no link", d.Name)
		}
	}
	return evidence{quiet: true}
}

// noNetwork reports whether functions like this one have no network interface by
// nature: their driver is for user space, or they are accelerators, or InfiniBand
// ports, whose interface is made by another module (IPoIB).
func noNetwork(pf *inventory.PF) bool {
	return use.WithoutNetdev(pf.Driver) || pf.Driver == "pci-pf-stub" ||
		pf.IsAccelerator() || pf.IsInfiniBand()
}

// seenSafe reports whether the PF is quiet, and was for long enough.
func (w *work) seenSafe() bool {
	return w.in.Quiet[w.pf.Address] && evidenceOf(w.in.Snapshot, w.pf).quiet
}

// proven reports whether the PF may be changed as far as the machine's own network
// is concerned.
func (w *work) proven() bool {
	return w.out.Safe || w.in.SpecHash != "" && w.record.SafeSpec == w.in.SpecHash
}

// guard takes all steps away from a PF that carries the machine's own network,
// or may do so for all that is known yet.
func (w *work) guard() {
	if len(w.out.Steps) == 0 || w.pf.Silent != "" { // silence takes them away
		return
	}
	if w.allowUplink {
		w.guardLink()
		return
	}
	if w.out.Uplink {
		w.out.Steps = nil
		w.problem(Problem{
			Msg:  "refused: this PF carries the machine's own network: it " + w.pf.Uplink,
			Hint: hintAllow,
		})
		return
	}
	if w.proven() {
		return
	}
	w.out.Steps = nil
	w.problem(w.unproven("waits for the machine's network, which this PF may carry: "))
}

// unproven says what is missing.
func (w *work) unproven(prefix string) Problem {
	ev := evidenceOf(w.in.Snapshot, w.pf)
	if ev.quiet {
		ev = ev.settles()
		ev.missing = "it has not been seen with a link and without an address for long enough yet"
		ev.hint = "done by itself in some seconds if it stays so; from then on this config starts at once after a reboot, and `allowUplink: true` makes it start at once always"
	}
	return Problem{Pending: true, Settling: ev.settling, Msg: prefix + ev.missing, Hint: ev.hint}
}

// guardLink keeps steps that drop the link from a PF that is the machine's only
// way out, whatever the config allows; and from one that may be it, because the
// kernel did not say.
func (w *work) guardLink() {
	known := w.in.Snapshot.Network.Complete && w.pf.Silent == "" && w.in.Snapshot.Network.Hidden == "" && w.pf.Unlisted == ""
	if !w.out.Uplink && known || w.otherWayOut() {
		return
	}
	out := map[string]bool{}
	var keep []Step
	for i := range w.out.Steps {
		s := &w.out.Steps[i]
		drop := s.Disruption == DisruptLink
		drop = drop || slices.ContainsFunc(s.Needs, func(id string) bool { return out[id] })
		if !drop {
			keep = append(keep, *s)
			continue
		}
		out[s.ID] = true
		if s.Disruption == DisruptLink {
			w.problem(w.linkKept(s))
		}
	}
	w.out.Steps = keep
}

// otherWayOut reports whether another PF with a link carries the machine's network. One
// about which the kernel does not answer may have lost it.
func (w *work) otherWayOut() bool {
	return slices.ContainsFunc(w.in.Snapshot.PFs, func(pf inventory.PF) bool {
		return pf.Uplink != "" && pf.Silent == "" && pf.Address != w.pf.Address && len(pf.Netdevs) > 0 && pf.Netdevs[0].Carrier
	})
}

func (w *work) linkKept(s *Step) Problem {
	if !w.out.Uplink {
		ev := evidenceOf(w.in.Snapshot, w.pf)
		return Problem{
			Partial: true, Pending: true, Settling: ev.settling,
			Msg:  fmt.Sprintf("%s is not changed to %s yet: it may take the link down, and it is not known whether this PF carries the machine's network: %s", s.Op.Object(), s.Op.Want(), ev.missing),
			Hint: "asked again by itself",
		}
	}
	return Problem{
		Partial: true,
		Msg:     fmt.Sprintf("%s is not changed to %s: it may take the link down, and this PF is the machine's only way out (it %s)", s.Op.Object(), s.Op.Want(), w.pf.Uplink),
		Hint:    "take it out of the config (the machine config can set an MTU before the network is up), or give the machine a second path",
	}
}

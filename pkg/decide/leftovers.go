package decide

import (
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// leftover is one that may be reclaimed now, and the PF in whose run.
type leftover struct {
	orphan cni.Orphan
	pf     string
}

// leftovers takes in what pods have left behind, and returns what may be reclaimed
// now: what has been there for the grace, because DEL is the better way back (it also
// returns the pod's addresses), and is in nobody's use.
func (m *Memory) leftovers(d *Decision, o *Observation, grace time.Duration) []leftover {
	if d.Config == nil || d.Config.CNI.Install == spec.CNIInstallOff {
		m.Leftovers = nil // another plugin's affair, or nobody's
		return nil
	}
	known := make(map[cni.Orphan]Leftover, len(o.Leftovers))
	var due []leftover
	for _, orphan := range o.Leftovers {
		l, ok := m.Leftovers[orphan]
		if !ok {
			l = Leftover{Since: o.At, After: o.At.Add(grace)}
		}
		left := l.After.Sub(o.At)
		if left <= 0 {
			left = grace // if it is in use, its holder may go without an event
			pf := pfOf(o.Snapshot, orphan.Device)
			l.Reason = inUse(orphan, pf, o.Use)
			if l.Reason == "" {
				due = append(due, leftover{orphan, pf})
			}
		}
		d.within(o.At, left)
		known[orphan] = l
	}
	m.Leftovers = known
	return due
}

// inUse is who has the VF of the leftover, "" when that is nobody.
func inUse(orphan cni.Orphan, pf string, used use.Set) string {
	if st := used.Of(orphan.Device); orphan.HasVF() && pf != "" && st.Busy() {
		return "in use: " + use.Names(st.Holders)
	}
	return ""
}

// pfOf is the PF of the VF, "" for a VF that the snapshot does not have: that one is no
// more, and nobody's.
func pfOf(snap *inventory.Snapshot, addr string) string {
	if _, pf := snap.VF(addr); pf != nil {
		return pf.Address
	}
	return ""
}

// reclaimed takes in what became of leftovers. Those that were not reclaimed are due
// again at the time after.
func (m *Memory) reclaimed(list []Reclaimed, after time.Time) {
	for _, r := range list {
		l, known := m.Leftovers[r.Orphan]
		switch {
		case r.Busy != "":
			l.Reason, l.After = r.Busy, after
		case r.Err != nil:
			l.Reason, l.After = r.Err.Error(), after
		default:
			m.Reclaimed++
			delete(m.Leftovers, r.Orphan) // if it is still there, it has a grace of its own
			continue
		}
		if known {
			m.Leftovers[r.Orphan] = l
		}
	}
}

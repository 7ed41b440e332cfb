package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Attachments knows what the CNI plugin attached to pods, and what of it pods
// that are gone have left.
type Attachments interface {
	Orphans() ([]cni.Orphan, error)
	TakeBack(ctx context.Context, o cni.Orphan) error
}

// orphans is what the loop remembers of what dead pods left. DEL is the better
// way back, because it also returns the pod's addresses: it gets the grace.
type orphans struct {
	known map[cni.Orphan]*orphan
	// returned counts since the daemon started.
	returned int
	timer    *time.Timer // when the next one may be taken back
}

type orphan struct {
	since time.Time
	after time.Time // when it may be taken back
	why   string    // it was not, when that is past
}

// see takes in a look and returns those that may be taken back now. It changes
// nothing but its own books.
func (o *orphans) see(list []cni.Orphan, grace time.Duration, now time.Time) (due []cni.Orphan) {
	for k := range o.known {
		if !slices.Contains(list, k) {
			delete(o.known, k)
		}
	}
	var next time.Duration
	for _, k := range list {
		if o.known[k] == nil {
			o.known[k] = &orphan{since: now, after: now.Add(grace)}
		}
		left := o.known[k].after.Sub(now)
		if left <= 0 {
			due = append(due, k)
			left = grace // if it is in use, its holder may go without an event
		}
		if next == 0 || left < next {
			next = left
		}
	}
	o.timer.Stop()
	if next > 0 {
		o.timer.Reset(next)
	}
	return due
}

// note says why one was not taken back, and when to try again.
func (o *orphans) note(k cni.Orphan, why string, after time.Time) {
	if e := o.known[k]; e != nil {
		e.why, e.after = why, after
	}
}

// lookForOrphans finds what may be taken back now. It changes nothing.
func (a *Agent) lookForOrphans(m *memory, t *turn) []cni.Orphan {
	cfg := t.verdict.cfg
	if a.opts.Attachments == nil || cfg == nil || cfg.CNI.Install == spec.CNIInstallOff || !a.cni.inCharge() {
		// Another plugin's affair, or nobody's: sriov-cni's DEL does not release
		// the pod's addresses when its cache file is gone.
		m.orphans.see(nil, a.opts.OrphanGrace, time.Now())
		return nil
	}
	list, err := a.opts.Attachments.Orphans()
	text := ""
	if err != nil {
		text = err.Error()
	}
	m.said.do("orphans", text, func() {
		if err != nil {
			a.log.Warn("some files of the CNI plugin cannot be read", "error", err)
		}
	})
	due := m.orphans.see(list, a.opts.OrphanGrace, time.Now())
	return slices.DeleteFunc(due, func(o cni.Orphan) bool {
		why := ""
		if st := t.use.Of(o.Device); o.HasVF() && t.knows(o.Device) && st.Busy() {
			why = "in use: " + use.Names(st.Holders)
		}
		m.orphans.note(o, why, m.orphans.known[o].after)
		return why != ""
	})
}

// knows reports whether the snapshot has the VF; one that it does not have is no
// more, and nobody's.
func (t *turn) knows(vf string) bool { return t.pfOf(vf) != "" }

func (t *turn) pfOf(addr string) string {
	if _, pf := t.snap.VF(addr); pf != nil {
		return pf.Address
	}
	return ""
}

// takenBack is the outcome for one orphan.
type takenBack struct {
	orphan cni.Orphan
	busy   string
	err    error
}

// takeBack takes the orphans back, each behind the gate that also the steps of a
// plan have to pass.
func (a *Agent) takeBack(ctx context.Context, t *turn, list []cni.Orphan) []takenBack {
	var out []takenBack
	for _, o := range list {
		if ctx.Err() != nil {
			return out
		}
		r := takenBack{orphan: o}
		if pf := t.pfOf(o.Device); o.HasVF() && pf != "" {
			holders, err := (gate{a}).Claim(ctx, pf, []string{o.Device})
			if r.err = err; len(holders) > 0 {
				r.busy = "in use: " + use.Names(holders)
			}
		}
		if r.err == nil && r.busy == "" {
			r.err = a.opts.Attachments.TakeBack(ctx, o)
		}
		out = append(out, r)
	}
	return out
}

// tookBack notes and logs what became of them.
func (a *Agent) tookBack(m *memory, list []takenBack) {
	again := time.Now().Add(a.opts.OrphanGrace)
	for _, r := range list {
		log := a.log.With("device", r.orphan.Device, "attachment", r.orphan.File, "netns", r.orphan.Netns, "evidence", r.orphan.Kind)
		key := fmt.Sprint("orphan/", r.orphan)
		switch {
		case r.busy != "":
			m.orphans.note(r.orphan, r.busy, again)
			m.said.do(key, r.busy, func() { log.Info("a dead pod's VF is left alone", "reason", r.busy) })
		case r.err != nil:
			m.orphans.note(r.orphan, r.err.Error(), again)
			m.said.do(key, r.err.Error(), func() { log.Warn("cannot take a dead pod's VF back, will be tried again", "error", r.err) })
		default:
			m.orphans.returned++
			log.Info("took back what a dead pod left, DEL did not come")
		}
	}
}

// report is what the status says, nil when there is nothing to say.
func (o *orphans) report() *status.Orphans {
	if o.returned == 0 && len(o.known) == 0 {
		return nil
	}
	s := &status.Orphans{Returned: o.returned}
	for k, e := range o.known {
		why := e.why
		if why == "" {
			why = "the container runtime may still give it back itself"
		}
		s.Pending = append(s.Pending, status.Orphan{
			Device: k.Device, Attachment: k.File, Evidence: string(k.Kind), Since: e.since.UTC().Truncate(time.Second), Reason: why,
		})
	}
	slices.SortFunc(s.Pending, func(x, y status.Orphan) int {
		return slices.Compare([]string{x.Device, x.Attachment}, []string{y.Device, y.Attachment})
	})
	return s
}

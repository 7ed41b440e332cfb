package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Attachments knows what the CNI plugin attached to pods, and what of it is left
// over from pods that are gone.
type Attachments interface {
	Orphans() ([]cni.Orphan, error)
	Reclaim(ctx context.Context, o cni.Orphan) error
}

// orphans are the leftovers that the loop knows. DEL is the better way back, because
// it also returns the pod's addresses: it gets the grace.
type orphans struct {
	known map[cni.Orphan]*leftover
	// reclaimed counts since the daemon started.
	reclaimed int
	alarm     alarm // when the next one may be reclaimed
}

// leftover is what is known of one orphan.
type leftover struct {
	since  time.Time
	after  time.Time // when it may be reclaimed
	reason string    // why it was not, when that is past
}

// observe takes what is left over now, and returns what may be reclaimed now. It
// changes nothing but what it remembers.
func (o *orphans) observe(list []cni.Orphan, grace time.Duration, now time.Time) (due []cni.Orphan) {
	maps.DeleteFunc(o.known, func(k cni.Orphan, _ *leftover) bool { return !slices.Contains(list, k) })
	var next time.Duration
	for _, k := range list {
		if o.known[k] == nil {
			o.known[k] = &leftover{since: now, after: now.Add(grace)}
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
	o.alarm.in(next)
	return due
}

// postpone records why one was not reclaimed, and when to try again.
func (o *orphans) postpone(k cni.Orphan, reason string, after time.Time) {
	if e := o.known[k]; e != nil {
		e.reason, e.after = reason, after
	}
}

// reclaimable finds what may be reclaimed now. It changes nothing on the machine.
func (a *Agent) reclaimable(m *memory, cur *pass) []cni.Orphan {
	cfg := cur.decision.cfg
	if a.opts.Attachments == nil || cfg == nil || cfg.CNI.Install == spec.CNIInstallOff || !a.cni.inCharge() {
		// Another plugin's affair, or nobody's: sriov-cni's DEL does not release
		// the pod's addresses when its cache file is gone.
		m.orphans.observe(nil, a.opts.OrphanGrace, time.Now())
		return nil
	}
	list, err := a.opts.Attachments.Orphans()
	m.logOnChange.failed("orphans", err, func() { a.log.Warn("cannot read some files of the CNI plugin", "err", err) })
	due := m.orphans.observe(list, a.opts.OrphanGrace, time.Now())
	return slices.DeleteFunc(due, func(o cni.Orphan) bool {
		reason := ""
		if st := cur.use.Of(o.Device); o.HasVF() && cur.pfOf(o.Device) != "" && st.Busy() {
			reason = "in use: " + use.Names(st.Holders)
		}
		m.orphans.postpone(o, reason, m.orphans.known[o].after)
		return reason != ""
	})
}

// pfOf is the PF of the VF, "" for a VF that the snapshot does not have: that one is no
// more, and nobody's.
func (cur *pass) pfOf(addr string) string {
	if _, pf := cur.snap.VF(addr); pf != nil {
		return pf.Address
	}
	return ""
}

// reclaimed is the outcome for one orphan.
type reclaimed struct {
	orphan cni.Orphan
	busy   string // who has the VF
	err    error
}

// reclaim reclaims the orphans, each behind the gate that also the steps of a
// plan have to pass.
func (a *Agent) reclaim(ctx context.Context, cur *pass, list []cni.Orphan) []reclaimed {
	var out []reclaimed
	for _, o := range list {
		if ctx.Err() != nil {
			return out
		}
		r := reclaimed{orphan: o}
		if pf := cur.pfOf(o.Device); o.HasVF() && pf != "" {
			holders, err := (gate{a}).Claim(ctx, pf, []string{o.Device})
			if r.err = err; len(holders) > 0 {
				r.busy = "in use: " + use.Names(holders)
			}
		}
		if r.err == nil && r.busy == "" {
			r.err = a.opts.Attachments.Reclaim(ctx, o)
		}
		out = append(out, r)
	}
	return out
}

// reclaimEnded records and logs the outcomes.
func (a *Agent) reclaimEnded(m *memory, list []reclaimed) {
	again := time.Now().Add(a.opts.OrphanGrace)
	for _, r := range list {
		log := a.log.With("device", r.orphan.Device, "attachment", r.orphan.File, "netns", r.orphan.Netns, "evidence", r.orphan.Evidence)
		key := fmt.Sprint("orphan/", r.orphan)
		switch {
		case r.busy != "":
			m.orphans.postpone(r.orphan, r.busy, again)
			m.logOnChange.do(key, r.busy, func() { log.Info("leftover VF is in use, not reclaimed", "reason", r.busy) })
		case r.err != nil:
			m.orphans.postpone(r.orphan, r.err.Error(), again)
			m.logOnChange.failed(key, r.err, func() { log.Warn("cannot reclaim leftover VF, will be retried", "err", r.err) })
		default:
			m.orphans.reclaimed++
			log.Info("leftover of an ended pod reclaimed, DEL did not come")
		}
	}
}

// report is the status' part, nil when there is nothing to report.
func (o *orphans) report() *status.Orphans {
	if o.reclaimed == 0 && len(o.known) == 0 {
		return nil
	}
	s := &status.Orphans{Returned: o.reclaimed}
	for k, e := range o.known {
		reason := cmp.Or(e.reason, "the container runtime may still give it back itself")
		s.Pending = append(s.Pending, status.Orphan{
			Device: k.Device, Attachment: k.File, Evidence: string(k.Evidence), Since: e.since.UTC().Truncate(time.Second), Reason: reason,
		})
	}
	slices.SortFunc(s.Pending, func(x, y status.Orphan) int {
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Attachment, y.Attachment))
	})
	return s
}

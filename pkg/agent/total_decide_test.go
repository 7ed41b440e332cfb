package agent_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// TestDecideTakesEveryValue: on every machine, under every config and with every record
// there is a decision, from each memory that the decisions before left.
func TestDecideTakesEveryValue(t *testing.T) {
	t.Parallel()
	docs, records := configs(t), states()
	settings := decide.Settings{BootID: "b", Resync: time.Minute, OrphanGrace: time.Second}
	for machine, s := range snapshots(t) {
		for doc, cfg := range docs {
			var m decide.Memory
			now := time.Unix(1e9, 0)
			for record, st := range records {
				what := fmt.Sprintf("%s, %s, %s", machine, doc, record)
				now = now.Add(time.Second)
				o := decide.Observation{
					At: now, Snapshot: s, Use: use.Judge(use.Evidence{Snapshot: s}), Record: st, Recorded: true,
					Leftovers: []cni.Orphan{{Evidence: cni.EvidenceNetns, Device: "0000:21:10.0"}, {}},
					Open:      map[string]use.Answer{"0000:21:10.0": {Err: errors.New("x")}, "": {}},
					Forced:    map[string]bool{"0000:21:00.0": true, "": true}, Stuck: map[string]bool{"0000:41:00.0": true},
				}
				c := decide.Config{Newest: &decide.Document{Present: cfg != nil, Parsed: decide.Parsed{Hash: doc, Config: cfg}}}
				var d decide.Decision
				d, m = decide.Decide(c, settings, o, m)
				if d.Known != (s != nil) || d.Known && (d.Plan == nil || d.Pools == nil) || !d.Next.After(now) {
					t.Errorf("%s: known %v, plan %v, next %s", what, d.Known, d.Plan != nil, d.Next.Sub(now))
				}
				ends := decide.Observation{At: now, Err: errors.New("no /sys")}
				for _, work := range d.Start {
					for _, r := range work {
						e := decide.Ended{PF: r.PF}
						for _, orphan := range r.Reclaim {
							e.Reclaimed = append(e.Reclaimed, decide.Reclaimed{Orphan: orphan, Busy: "x"})
						}
						ends.Ended = append(ends.Ended, e)
					}
				}
				if d, m = decide.Decide(c, settings, ends, m); d.Known || len(m.Running()) > 0 {
					t.Errorf("%s: known %v although nothing was read, under way %v", what, d.Known, m.Running())
				}
			}
		}
	}
}

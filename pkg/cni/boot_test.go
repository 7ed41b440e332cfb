package cni

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
)

// upstream makes the attachment's cache one that sriov-cni wrote at that time.
func (r *rig) upstream(t *testing.T, file string, written time.Time) {
	t.Helper()
	a, err := r.store().Load(file)
	must(t, err)
	a.Extra = attachment.Extra{}
	must(t, r.store().Save(a))
	must(t, os.Chtimes(r.cachePath(file), written, written))
}

// The clock of the machine is wrong until the network gives the time. sriov-cni's
// cache files do not have of which run of the machine they are: whenever in this run
// they were written, and whenever the clock jumped, their VFs are given back, and
// those of an earlier run are left alone.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const early, later = time.Minute, time.Hour // since the start of the machine
	started := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for name, wrong := range map[string]time.Duration{"right": 0, "ahead": 365 * 24 * time.Hour, "behind": -20 * 365 * 24 * time.Hour, "little behind": -time.Second} {
		for _, when := range []time.Duration{early / 2, later / 2} {
			offset, up := wrong, early // of the clock
			clocks := attachment.Clocks{
				Wall:  func() time.Time { return started.Add(offset + up) },
				Up:    func() (time.Duration, error) { return up, nil },
				Early: started.Add(wrong + time.Second),
			}
			r := newRig(t, 1)
			r.Boot = attachment.BootInfo{ID: "boot-1", Since: clocks.Since}
			before := r.m.state()
			r.add(t, "c1", "/ns/c1", 0, `"vlan":7`)
			if _, err := r.Orphans(); err != nil { // a daemon that has been there since
				t.Fatal(err)
			}
			written := started.Add(when)
			if when < early {
				written = written.Add(wrong)
			}
			r.upstream(t, "c1-net1", written)
			offset, up = 0, later
			r.orphans(t)
			r.m.kill("/ns/c1")
			r.orphans(t, EvidenceNetns)
			r.reclaim(t)
			if got := r.m.state(); got != before {
				t.Errorf("clock %s, written after %s: before\n%safter\n%s", name, when, before, got)
			}
			must(t, os.WriteFile(r.cachePath("c2-net1"), []byte("{"), 0o600))
			must(t, os.Chtimes(r.cachePath("c2-net1"), written, written))
			if _, err := r.Orphans(); err == nil || !slices.Contains(r.residue(t), "c2-net1") {
				t.Errorf("clock %s, written after %s: a damaged file of this run: %v", name, when, err)
			}
		}
	}
}

// With a clock that was right, an earlier run's file is known as that; a namespace
// that lives shows the opposite, whatever the clock shows.
func TestFileOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	up := func() (time.Duration, error) { return time.Hour, nil }
	clocks := attachment.Clocks{Wall: func() time.Time { return started.Add(time.Hour) }, Up: up, Early: started.Add(time.Second)}
	r := newRig(t, 1)
	r.Boot = attachment.BootInfo{ID: "boot-1", Since: clocks.Since}
	before := r.m.state()
	r.add(t, "c0", "/ns/c0", 0, `"vlan":7`)
	r.upstream(t, "c0-net1", started.Add(-time.Minute))
	must(t, r.Del(t.Context(), cmd("c0", "/ns/c0", conf(0, ""))))
	r.untouched(t, before)

	r.add(t, "c1", "/ns/c1", 0, `"vlan":7`)
	r.upstream(t, "c1-net1", started.Add(-time.Minute))
	r.orphans(t)
	r.m.kill("/ns/c1")
	r.orphans(t, EvidenceBoot)
	calls := len(r.m.calls)
	r.reclaim(t)
	if left, did := r.residue(t), r.m.calls[calls:]; len(left) > 0 || len(did) > 0 {
		t.Errorf("left %v, calls %v", left, did)
	}

	clocks.Up = func() (time.Duration, error) { return 0, errors.New("no clock") }
	if since := clocks.Since(); !since.IsZero() {
		t.Errorf("without a clock files are older than %s", since)
	}
	clocks = attachment.Clocks{Wall: time.Now, Up: up}
	if since := clocks.Since(); since.IsZero() || since.After(time.Now()) {
		t.Errorf("without the early time files are older than %s", since)
	}
}

func TestBootOfThisMachine(t *testing.T) {
	t.Parallel()
	for _, run := range []string{"/run", "/dev/shm", t.TempDir(), "/nowhere"} {
		b, err := attachment.Boot(run)
		must(t, err)
		if b.ID == "" || b.Since().IsZero() || b.Since().After(time.Now()) {
			t.Errorf("%s: %q since %s", run, b.ID, b.Since())
		}
	}
}

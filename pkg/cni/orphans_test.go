package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni/attachment"
)

func (r *rig) add(t tb, container, netns string, vf int, more string) {
	t.Helper()
	r.m.spaces[netns] = true
	if _, err := r.Add(t.Context(), cmd(container, netns, conf(vf, more))); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) orphans(t tb, want ...Evidence) []Orphan {
	t.Helper()
	list, err := r.Orphans()
	if err != nil {
		t.Fatal(err)
	}
	var got []Evidence
	for _, o := range list {
		got = append(got, o.Evidence)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("orphans %+v, want %v", list, want)
	}
	return list
}

// reclaim takes every orphan back.
func (r *rig) reclaim(t tb) {
	t.Helper()
	list, err := r.Orphans()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		if err := r.Reclaim(t.Context(), o); err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
	}
}

// residue is what is left below the directory, without locks.
func (r *rig) residue(t tb) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*", "pci/*", ".*"} {
		files, err := filepath.Glob(filepath.Join(r.Dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
				out = append(out, filepath.Base(f))
			}
		}
	}
	return out
}

// A pod's namespace dies without DEL: name, MAC, attributes and MTU come back,
// and a DEL that comes after all has nothing to do but call the IPAM plugin.
func TestOrphanOfADeadNamespace(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	before := r.m.state()
	r.add(t, "c1", "/ns/c1", 0, everything)
	r.add(t, "c2", "/ns/c2", 1, `"vlan":7`)
	r.orphans(t)
	r.m.kill("/ns/c1")
	o := r.orphans(t, EvidenceNetns)
	if !o[0].HasVF() || o[0].Device != vfAddr(0) || o[0].File != "c1-net1" || o[0].Netns != "/ns/c1" {
		t.Errorf("%+v", o[0])
	}
	r.reclaim(t)
	r.orphans(t)
	if l := r.m.vfLink(1); l.ns != "/ns/c2" || r.m.vfs[1].VLAN != 7 {
		t.Errorf("the living pod's VF was touched: %+v", l)
	}
	if err := r.Del(t.Context(), cmd("c2", "/ns/c2", conf(1, `"vlan":7`))); err != nil {
		t.Fatal(err)
	}
	if got := r.m.state(); got != before {
		t.Errorf("before\n%safter\n%s", before, got)
	}
	if err := r.Del(t.Context(), cmd("c1", "", conf(0, everything))); err != nil {
		t.Errorf("DEL afterwards: %v", err)
	}
	if r.ipam.held != 0 {
		t.Errorf("addresses held: %d", r.ipam.held)
	}
	if left := r.residue(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// After a reboot the files of the run before are removed, and no VF is touched.
func TestOrphanOfAnEarlierBoot(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.add(t, "c1", "/ns/c1", 0, `"vlan":7`)
	calls := len(r.m.calls)
	r.m.spaces = map[string]bool{}
	r.Boot = attachment.BootInfo{ID: "boot-2", Since: at(time.Now().Add(time.Hour))}
	if o := r.orphans(t, EvidenceBoot); o[0].HasVF() {
		t.Errorf("%+v", o)
	}
	r.reclaim(t)
	if left := r.residue(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if got := r.m.calls[calls:]; len(got) > 0 {
		t.Errorf("calls: %v", got)
	}
	// The new run's pod has the VF by now: nothing of it is lost.
	r.Boot = attachment.BootInfo{ID: "boot-1", Since: at(time.Unix(1, 0))}
	r.add(t, "c2", "/ns/c2", 1, "")
	r.Boot = attachment.BootInfo{ID: "boot-2", Since: at(time.Now().Add(-time.Hour))}
	r.m.spaces["/ns/c3"] = true
	if err := r.store().Allocate(vfAddr(1), "/ns/c3"); err != nil {
		t.Fatal(err)
	}
	r.orphans(t, EvidenceBoot)
	r.reclaim(t)
	if owner, err := r.store().Owner(vfAddr(1)); owner != "/ns/c3" || err != nil {
		t.Errorf("the allocation of the new pod is %q, %v", owner, err)
	}
}

// sriov-cni's cache does not have whose it is; the allocation has, and where
// there is none the interface must be back on the host.
func TestOrphanOfTheOtherPlugin(t *testing.T) {
	t.Parallel()
	upstream := func(r *rig) {
		t.Helper()
		a, err := r.store().Load("c1-net1")
		if err != nil {
			t.Fatal(err)
		}
		a.Extra = attachment.Extra{}
		if err := r.store().Save(a); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t, 1)
	before := r.m.state()
	r.add(t, "c1", "/ns/c1", 0, `"vlan":7`)
	upstream(r)
	r.orphans(t)
	if err := r.store().Free(vfAddr(0)); err != nil {
		t.Fatal(err)
	}
	r.orphans(t) // the interface is in a pod
	r.m.kill("/ns/c1")
	r.orphans(t, EvidenceNetns)
	r.reclaim(t)
	if got := r.m.state(); got != before {
		t.Errorf("before\n%safter\n%s", before, got)
	}
	if left := r.residue(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	// The allocation alone.
	if err := r.store().Allocate(vfAddr(0), "/ns/gone"); err != nil {
		t.Fatal(err)
	}
	r.orphans(t, EvidenceAllocation)
	r.reclaim(t)
	if left := r.residue(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A VF that a program drives has no interface that comes back: the namespace
// that the cache names decides, and without that nothing does.
func TestOrphanWithoutAnInterface(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.m.driver[0] = "vfio-pci"
	r.m.links = slices.DeleteFunc(r.m.links, func(l *mlink) bool { return l.ParentDev == vfAddr(0) })
	before := r.m.state()
	r.add(t, "c1", "/ns/c1", 0, `"vlan":7,"mac":"02:00:00:00:00:bb"`)
	r.orphans(t)
	r.m.kill("/ns/c1")
	r.orphans(t, EvidenceNetns)
	a, err := r.store().Load("c1-net1")
	if err != nil {
		t.Fatal(err)
	}
	nameless := *a
	nameless.Extra = attachment.Extra{}
	if err := errors.Join(r.store().Save(&nameless), r.store().Free(vfAddr(0))); err != nil {
		t.Fatal(err)
	}
	r.orphans(t)
	if err := r.store().Save(a); err != nil {
		t.Fatal(err)
	}
	r.reclaim(t)
	if got := r.m.state(); got != before {
		t.Errorf("before\n%safter\n%s", before, got)
	}
	if left := r.residue(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What an older attachment remembers of a VF is history when a later pod got it.
func TestOrphanThatIsHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.add(t, "c1", "/ns/c1", 0, `"vlan":7`)
	r.m.kill("/ns/c1")
	r.add(t, "c2", "/ns/c2", 0, `"vlan":9`)
	list := r.orphans(t, EvidenceNetns)
	r.reclaim(t)
	if l := r.m.vfLink(0); l.ns != "/ns/c2" || l.Name != "net1" || r.m.vfs[0].VLAN != 9 {
		t.Errorf("the later pod lost the VF: %+v, VLAN %d", l, r.m.vfs[0].VLAN)
	}
	// One that was listed and is none any more by the time.
	if err := r.Reclaim(t.Context(), list[0]); err != nil {
		t.Error(err)
	}
	alive := Orphan{Evidence: EvidenceNetns, Device: vfAddr(0), File: "c2-net1", Netns: "/ns/c2"}
	if err := r.Reclaim(t.Context(), alive); err != nil || r.m.vfLink(0).ns != "/ns/c2" {
		t.Errorf("a living pod's VF: %v", err)
	}
	for _, bad := range []Orphan{{Device: "../x"}, {Device: vfAddr(0), File: "../../etc/passwd"}} {
		if err := r.Reclaim(t.Context(), bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// While ADD or DEL is at work on the VF, it is left to them.
func TestOrphanLocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testOrphanLocked)
}

func testOrphanLocked(t *testing.T) {
	r := newRig(t, 1)
	r.add(t, "c1", "/ns/c1", 0, "")
	r.m.kill("/ns/c1")
	o := r.orphans(t, EvidenceNetns)
	unlock, err := r.store().Lock(t.Context(), vfAddr(0))
	if err != nil {
		t.Fatal(err)
	}
	calls := len(r.m.calls)
	r.Sleep = nil // the time-out is that of the bubble's clock
	if err := r.Reclaim(t.Context(), o[0]); err == nil || len(r.m.calls) > calls {
		t.Errorf("%v, calls %v", err, r.m.calls[calls:])
	}
	unlock()
	r.reclaim(t)
	r.orphans(t)
}

// Taking back fails at each call, and at the end of the process there; the next
// time it is finished.
func TestReclaimFailsAnywhere(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		r := newRig(t, 1)
		before := r.m.state()
		r.add(t, "c1", "/ns/c1", 0, everything)
		r.m.kill("/ns/c1")
		o := r.orphans(t, EvidenceNetns)[0]
		calls, hit := 0, ""
		r.m.fail = func(call string) error {
			if calls++; calls > n {
				hit = call // and all that follow: the process is gone
				return syscall.EIO
			}
			return nil
		}
		err := r.Reclaim(t.Context(), o)
		r.m.fail = nil
		r.reclaim(t)
		if got := r.m.state(); got != before {
			t.Errorf("failed at call %d (%s): before\n%safter\n%s", n, hit, before, got)
		}
		if left := r.residue(t); len(left) > 0 {
			t.Errorf("failed at call %d (%s): left %v", n, hit, left)
		}
		if hit == "" {
			if n < 5 || err != nil {
				t.Errorf("only %d calls, %v", n, err)
			}
			return
		}
	}
}

func TestOrphansUnreadable(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.add(t, "c1", "/ns/c1", 0, "")
	r.m.kill("/ns/c1")
	if err := os.WriteFile(filepath.Join(r.Dir, "c9-net1"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := r.Orphans()
	if err == nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	none := &Plugin{Dir: filepath.Join(t.TempDir(), "none"), Kernel: r.m, Sysfs: r.m, Log: r.Log}
	if list, err := none.Orphans(); len(list) != 0 || err != nil {
		t.Errorf("%+v, %v", list, err)
	}
}

package health_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/health"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// world is a PF with three VFs, in one pool.
type world struct {
	t    *testing.T
	j    health.Judge
	set  health.Settings
	snap *inventory.Snapshot
	held map[string]bool
	out  map[string]bool // devices that the pool does not have
	now  time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, set: health.From(nil), held: map[string]bool{}, out: map[string]bool{}, now: time.Unix(1000, 0)}
	pf := inventory.PF{Function: inventory.Function{Address: "pf", AER: &inventory.AER{Fatal: 3, NonFatal: 5}}}
	pf.Netdevs = []inventory.Netdev{{Name: "ens1", AdminUp: true, Carrier: true}}
	for i := range 3 {
		pf.VFs = append(pf.VFs, inventory.VF{Index: i, Function: inventory.Function{Address: fmt.Sprintf("vf%d", i), AER: &inventory.AER{}}, Admin: &inventory.VFAdmin{LinkState: "auto"}})
	}
	w.snap = &inventory.Snapshot{PFs: []inventory.PF{pf}}
	return w
}

func (w *world) pf() *inventory.PF      { return &w.snap.PFs[0] }
func (w *world) dev() *inventory.Netdev { return &w.snap.PFs[0].Netdevs[0] }

// observe goes on in time and judges; the text is "id: text [cause]; ...".
func (w *world) observe(after time.Duration) (string, health.Result) {
	w.t.Helper()
	w.now = w.now.Add(after)
	p := pool.Pool{Resource: "x.y/r"}
	for i := range w.pf().VFs {
		if id := w.pf().VFs[i].Address; !w.out[id] {
			p.Devices = append(p.Devices, pool.Device{ID: id, Healthy: true})
		}
	}
	v := w.j.Observe(w.set, w.snap, &pool.Assignment{Pools: []pool.Pool{p}}, func(id string) bool { return w.held[id] }, w.now)
	var out []string
	for _, id := range slices.Sorted(maps.Keys(v.Reasons)) {
		out = append(out, fmt.Sprintf("%s: %s [%s]", id, v.Reasons[id].Text, v.Reasons[id].Cause))
	}
	return strings.Join(out, "; "), v
}

func (w *world) want(after time.Duration, want string, again time.Duration) {
	w.t.Helper()
	got, v := w.observe(after)
	if got != want || v.Again != again {
		w.t.Errorf("got %q, again in %v; want %q, again in %v", got, v.Again, want, again)
	}
}

const (
	noLink = "vf0: PF ens1 has no link [no-link]; vf1: PF ens1 has no link [no-link]; vf2: PF ens1 has no link [no-link]"
	isDown = "vf0: PF ens1 is administratively down [pf-down]; vf1: PF ens1 is administratively down [pf-down]; vf2: PF ens1 is administratively down [pf-down]"
)

func TestLinkHoldDown(t *testing.T) {
	w := newWorld(t)
	w.want(0, "", 0)
	w.dev().Carrier = false
	w.want(time.Second, "", 2*time.Second)
	w.want(1500*time.Millisecond, "", 500*time.Millisecond)
	w.want(500*time.Millisecond, noLink, 0)
	w.want(time.Hour, noLink, 0)
	w.dev().Carrier = true
	w.want(0, noLink, 2*time.Second)
	w.want(2*time.Second, "", 0)
}

func TestFlappingIsNoNews(t *testing.T) {
	w := newWorld(t)
	w.want(0, "", 0)
	for range 10 {
		w.dev().Carrier = false
		w.want(time.Second, "", 2*time.Second)
		w.dev().Carrier = true
		w.want(time.Second, "", 0)
	}
}

func TestAdminDown(t *testing.T) {
	w := newWorld(t)
	w.want(0, "", 0)
	w.dev().AdminUp = false
	w.want(0, "", 2*time.Second)
	w.want(2*time.Second, isDown, 0)
	w.dev().AdminUp = true // the carrier takes its time
	w.dev().Carrier = false
	w.want(2*time.Second, isDown, 2*time.Second)
	w.want(2*time.Second, noLink, 0)
}

func TestStartGrace(t *testing.T) {
	w := newWorld(t)
	w.dev().Carrier = false
	w.want(0, "", health.StartGrace)
	w.want(health.StartGrace-time.Second, "", time.Second)
	w.want(time.Second, noLink, 0)
}

func TestVFLinkState(t *testing.T) {
	w := newWorld(t)
	w.want(0, "", 0)
	w.pf().VFs[0].Admin.LinkState = "enable"
	w.pf().VFs[1].Admin.LinkState = "disable"
	w.pf().VFs[2].Admin = nil
	w.dev().Carrier = false
	w.observe(0)
	w.want(2*time.Second, "vf1: the link state of the VF is set to disable [vf-link-disabled]; vf2: PF ens1 has no link [no-link]", 0)
	w.dev().AdminUp = false
	w.observe(0)
	w.want(2*time.Second, "vf0: PF ens1 is administratively down [pf-down]; vf1: the link state of the VF is set to disable [vf-link-disabled]; vf2: PF ens1 is administratively down [pf-down]", 0)
	w.set.Link = false
	w.want(0, "", 0)
}

func TestPFWithoutInterface(t *testing.T) {
	w := newWorld(t)
	w.pf().Netdevs = nil
	w.want(0, "", 0)
	w.want(time.Hour, "", 0)
}

func TestPCIeErrors(t *testing.T) {
	w := newWorld(t)
	w.want(0, "", 0) // the PF's old errors are old
	w.pf().VFs[1].AER = &inventory.AER{Fatal: 1, NonFatal: 2}
	w.want(time.Second, "vf1: PCIe errors on vf1: 1 fatal, 2 non-fatal more than before [pcie-errors]", health.ErrorQuiet)
	w.want(health.ErrorQuiet-time.Second, "vf1: PCIe errors on vf1: 1 fatal, 2 non-fatal more than before [pcie-errors]", time.Second)
	w.want(time.Second, "", 0)
	w.pf().AER = &inventory.AER{Fatal: 3, NonFatal: 6}
	const pf = ": PCIe errors on pf: 0 fatal, 1 non-fatal more than before [pcie-errors]"
	w.want(0, "vf0"+pf+"; vf1"+pf+"; vf2"+pf, health.ErrorQuiet)
	w.pf().AER = &inventory.AER{} // a driver that was loaded again counts from zero
	w.want(health.ErrorQuiet, "", 0)
}

func TestErrorsWhileVFsAreMade(t *testing.T) {
	w := newWorld(t)
	w.want(0, "", 0)
	w.pf().VFs = w.pf().VFs[:1]
	w.pf().AER = &inventory.AER{Fatal: 3, NonFatal: 9}
	w.want(time.Second, "", 0)
	w.pf().AER = &inventory.AER{Fatal: 4, NonFatal: 9}
	w.want(time.Second, "vf0: PCIe errors on pf: 1 fatal, 0 non-fatal more than before [pcie-errors]", health.ErrorQuiet)
}

func TestGoneWhileHeld(t *testing.T) {
	w := newWorld(t)
	w.want(0, "", 0)
	w.held["vf2"], w.held["vf1"] = true, true
	w.out["vf1"] = true         // still there, no longer selected
	w.pf().VFs = w.pf().VFs[:2] // vf2 unplugged
	show := func(v health.Result) string {
		var out []string
		for _, d := range v.Assignment.Pools[0].Devices {
			out = append(out, fmt.Sprintf("%s %v %s", d.ID, d.Healthy, d.Reason.Text))
		}
		return strings.Join(out, ", ")
	}
	for range 2 { // it stays so
		_, v := w.observe(time.Second)
		if got, want := show(v), "vf0 true , vf1 true , vf2 false the device is gone, and a pod still has it"; got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
	delete(w.held, "vf2")
	delete(w.out, "vf1")
	_, v := w.observe(time.Second)
	if got, want := show(v), "vf0 true , vf1 true "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFrom(t *testing.T) {
	off := false
	for _, tc := range []struct {
		cfg  *spec.Config
		want health.Settings
	}{
		{nil, health.Settings{Link: true, HoldDown: 2 * time.Second}},
		{&spec.Config{}, health.Settings{Link: true, HoldDown: 2 * time.Second}},
		{&spec.Config{Health: spec.Health{Link: &off, HoldDown: spec.Duration(time.Minute)}}, health.Settings{HoldDown: time.Minute}},
	} {
		if got := health.From(tc.cfg); got != tc.want {
			t.Errorf("%+v, want %+v", got, tc.want)
		}
	}
}

// There is no event that the host's network can be listed again: the judge wants to
// be asked until it was.
func TestAsksAgainWhileHostUseIsNotKnown(t *testing.T) {
	w := newWorld(t)
	if _, v := w.observe(0); v.Again != 0 {
		t.Errorf("again after %s, and all is known", v.Again)
	}
	w.snap.HostUnknown = map[string]string{"vf0": "the kernel did not list all of the host's network"}
	if _, v := w.observe(time.Second); v.Again == 0 || v.Again > health.AskAgain {
		t.Errorf("again after %s", v.Again)
	}
}

package plan_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// An order of the document counts until the PF is as the document says, and
// never again: not after a boot, not when the document goes back to it.
func TestOrderIsCarriedOutOnce(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
	held := judged(k, map[string]string{"0000:21:10.2": "trader-0"})
	compute := func(st plan.State, count int, order string) *plan.Plan {
		e := entry(4, count, "enp33s0")
		e.Force = order
		return plan.Compute(plan.Input{Config: config(e), Snapshot: k.Snapshot(), Use: held, State: st, BootID: st.BootID, NetworkOverdue: true})
	}
	waits := func(p *plan.Plan) bool {
		return slices.ContainsFunc(p.PFs[0].Steps, func(s plan.Step) bool { return len(s.Wait) > 0 })
	}
	st := plan.State{BootID: "b1"}
	if waits(compute(st, 6, "a")) {
		t.Fatal("a new order is not followed")
	}
	if _, done := st.Obeyed(compute(st, 6, "a")); len(done) > 0 {
		t.Error("an order counts as carried out while steps are left")
	}
	if p := compute(st, 99, "a"); p.Done() {
		t.Error("99 VFs are no problem")
	} else if _, done := st.Obeyed(p); len(done) > 0 {
		t.Error("an order counts as carried out while the PF cannot be as the document says")
	}
	st, done := st.Obeyed(compute(st, 4, "a"))
	if !slices.Equal(done, []string{igb0}) {
		t.Fatalf("carried out on %v, want %s", done, igb0)
	}
	if _, again := st.Obeyed(compute(st, 4, "a")); len(again) > 0 {
		t.Error("carried out twice")
	}
	for i := range 15 {
		st, _ = st.Obeyed(compute(st, 4, "b"+strconv.Itoa(i)))
	}
	for _, later := range []plan.State{st, st.Boot("b2")} {
		if !waits(compute(later, 6, "a")) || !waits(compute(later, 6, "b0")) {
			t.Errorf("boot %s: an old order is followed again", later.BootID)
		}
		if waits(compute(later, 6, "new")) {
			t.Errorf("boot %s: a new order is not followed", later.BootID)
		}
	}
}

// Without the record an order may be an old one: it is not followed, and counts
// as carried out.
func TestOrderWithoutRecord(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
	e := entry(4, 6, "enp33s0")
	e.Force = "a"
	in := plan.Input{Config: config(e), Snapshot: k.Snapshot(), Use: judged(k, map[string]string{"0000:21:10.2": "trader-0"}), NetworkOverdue: true, State: plan.State{Lost: true}}
	p := plan.Compute(in)
	if len(p.PFs[0].Steps[0].Wait) == 0 {
		t.Error("an order is followed although nobody knows whether it is an old one")
	}
	st, done := in.State.Obeyed(p)
	if st.Lost || !slices.Equal(done, []string{igb0}) {
		t.Errorf("lost %v, carried out on %v", st.Lost, done)
	}
	in.State = st
	if len(plan.Compute(in).PFs[0].Steps[0].Wait) == 0 {
		t.Error("the order is followed after all")
	}
}

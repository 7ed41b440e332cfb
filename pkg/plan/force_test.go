package plan_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/record"
)

// A force token of the config counts until the PF is as the config says, and
// never again: not after a boot, not when the config goes back to it.
func TestForceTokenIsCarriedOutOnce(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
	held := judged(k, map[string]string{"0000:21:10.2": "trader-0"})
	compute := func(st record.Record, count int, token string) *plan.Plan {
		e := entry(4, count, "enp33s0")
		e.Force = token
		return planned(plan.Input{Config: config(e), Snapshot: k.Snapshot(), Use: held, Record: st, BootID: st.BootID, Quiet: plan.QuietNow(k.Snapshot())})
	}
	waits := func(p *plan.Plan) bool {
		return slices.ContainsFunc(p.PFs[0].Steps, func(s plan.Step) bool { return len(s.Wait) > 0 })
	}
	st := record.Record{BootID: "b1"}
	if waits(compute(st, 6, "a")) {
		t.Fatal("a new token is not followed")
	}
	if _, done := st.Acknowledge(compute(st, 6, "a").Tokens()); len(done) > 0 {
		t.Error("a token counts as carried out while steps are left")
	}
	if p := compute(st, 99, "a"); p.Done() {
		t.Error("99 VFs are no problem")
	} else if _, done := st.Acknowledge(p.Tokens()); len(done) > 0 {
		t.Error("a token counts as carried out while the PF cannot be as the config says")
	}
	st, done := st.Acknowledge(compute(st, 4, "a").Tokens())
	if !slices.Equal(done, []string{igb0}) {
		t.Fatalf("carried out on %v, want %s", done, igb0)
	}
	if _, again := st.Acknowledge(compute(st, 4, "a").Tokens()); len(again) > 0 {
		t.Error("carried out twice")
	}
	for i := range 15 {
		st, _ = st.Acknowledge(compute(st, 4, "b"+strconv.Itoa(i)).Tokens())
	}
	for _, later := range []record.Record{st, st.Boot("b2")} {
		if !waits(compute(later, 6, "a")) || !waits(compute(later, 6, "b0")) {
			t.Errorf("boot %s: an old token is followed again", later.BootID)
		}
		if waits(compute(later, 6, "new")) {
			t.Errorf("boot %s: a new token is not followed", later.BootID)
		}
	}
}

// Without the record a force token may be an old one: it is not followed, and counts
// as carried out.
func TestForceTokenWithoutRecord(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb0+"/sriov_numvfs", "4")
	e := entry(4, 6, "enp33s0")
	e.Force = "a"
	in := plan.Input{Config: config(e), Snapshot: k.Snapshot(), Use: judged(k, map[string]string{"0000:21:10.2": "trader-0"}), Quiet: plan.QuietNow(k.Snapshot()), Record: record.Record{Lost: true}}
	p := planned(in)
	if len(p.PFs[0].Steps[0].Wait) == 0 {
		t.Error("a token is followed although nobody knows whether it is an old one")
	}
	st, done := in.Record.Acknowledge(p.Tokens())
	if st.Lost || !slices.Equal(done, []string{igb0}) {
		t.Errorf("lost %v, carried out on %v", st.Lost, done)
	}
	in.Record = st
	if len(planned(in).PFs[0].Steps[0].Wait) == 0 {
		t.Error("the token is followed after all")
	}
}

// An old force token is not followed on a PF that appears after the record was lost, nor
// when the config was not there yet when it was found lost, nor in a new process.
func TestLostRecordAndWhatComesLater(t *testing.T) {
	k := machine()
	write(t, k, "bus/pci/devices/"+igb1+"/sriov_numvfs", "4")
	e := entry(4, 6, "enp*s0")
	e.Force = "old"
	held := judged(k, map[string]string{"0000:41:10.2": "trader-0"})
	waits := func(st record.Record, token string) bool {
		e := e
		e.Force = token
		p := planned(plan.Input{Config: config(e), Snapshot: k.Snapshot(), Quiet: plan.QuietNow(k.Snapshot()), Use: held, Record: st, BootID: "b"})
		f := p.PF(igb1)
		if waits := len(f.Steps[0].Wait) > 0; waits != slices.ContainsFunc(f.Notices, func(pr plan.Problem) bool { return strings.Contains(pr.Msg, "is not followed") }) {
			t.Errorf("waits %v, notices %+v", waits, f.Notices)
		}
		return len(f.Steps[0].Wait) > 0
	}
	early := k.Snapshot() // the other PF's driver has not bound it yet
	early.PFs = slices.DeleteFunc(early.PFs, func(pf inventory.PF) bool { return pf.Address == igb1 })

	st, done := record.Record{BootID: "b", Lost: true}.Acknowledge(planned(plan.Input{Snapshot: early}).Tokens())
	if !st.Lost || len(done) > 0 {
		t.Fatalf("without a document the record counts as complete: %+v, %v", st, done)
	}
	st, _ = st.Acknowledge(planned(plan.Input{Config: config(e), Snapshot: early, Record: st, BootID: "b"}).Tokens())
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var read record.Record
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	for name, st := range map[string]record.Record{"the same process": st, "the next one": read, "the next boot": st.Boot("b2")} {
		if !waits(st, "old") {
			t.Errorf("%s: the old token is followed on a PF that appeared later", name)
		}
		if waits(st, "new") {
			t.Errorf("%s: a new token is not followed", name)
		}
	}
}

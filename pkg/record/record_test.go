package record_test

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/record"
)

const pf = "0000:21:00.0"

var card = record.Card{Address: pf, Device: "8086:10c9", PermMAC: "52:54:00:00:00:01"}

// A record is about one card, and what a boot undoes is about one boot.
func TestRecordIsOfOneCardAndBoot(t *testing.T) {
	run := record.Run{
		Card: card, Found: record.Made{NumVFs: 0, MTU: 1500},
		Intents: []record.Intent{{ID: "x", Attribute: true}, {ID: "y", Attribute: true}},
	}
	r := record.Record{BootID: "b1"}.Begin(run, []string{"x"})
	run.Found.NumVFs = 4
	if r = r.End(run, record.Outcome{}).Begin(run, []string{"y"}); r.PFs[pf].Made.NumVFs != 0 {
		t.Error("the second run of a boot overwrote what the PF was before the first")
	}
	other := card
	other.PermMAC = "52:54:00:00:00:99"
	for name, c := range map[string]struct {
		card record.Card
		boot string
		made bool
	}{
		"the same":             {card, "b1", true},
		"no MAC known":         {record.Card{Address: pf, Device: card.Device}, "b1", true},
		"another boot":         {card, "b2", false},
		"boot not known":       {card, "", false},
		"another kind of card": {record.Card{Address: pf, Device: "8086:1521", PermMAC: card.PermMAC}, "b1", false},
		"another card":         {other, "b1", false},
		"the card elsewhere":   {record.Card{Address: "0000:41:00.0", Device: card.Device, PermMAC: card.PermMAC}, "b1", false},
	} {
		if f := r.Of(c.card, c.boot); (f.Made != nil) != c.made || (len(f.Open) > 0) != c.made {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if n := len(r.Boot("b2").PFs); n != 0 {
		t.Errorf("%d records without a proof outlived the boot", n)
	}
	proven, _ := r.Proven([]record.Evidence{{Card: card, Safe: true}}, "h")
	if d := cmp.Diff(record.PF{Device: card.Device, PermMAC: card.PermMAC, SafeSpec: "h"}, proven.Boot("b2").PFs[pf]); d != "" {
		t.Errorf("after a boot (-want +got):\n%s", d)
	}
	// Another card begins with what it is like.
	run.Card = other
	if f := r.Begin(run, nil).PFs[pf]; f.Made.NumVFs != 4 || f.PermMAC != other.PermMAC || len(f.Open) > 0 {
		t.Errorf("another card: %+v", f)
	}
}

func TestRecordOfAnEarlierProcess(t *testing.T) {
	was := record.PF{
		Made: &record.Made{NumVFs: 0, Wrote: map[record.Setting][]string{record.NumVFs: {"4"}}},
		Open: []string{"a"}, Refused: map[string]record.Refusal{"r": {Value: "1"}}, Forced: []string{"old"},
	}
	now := record.PF{
		Made: &record.Made{NumVFs: 4, Wrote: map[record.Setting][]string{record.MTU: {"9000"}}, Overrides: map[int]string{1: "none"}},
		Open: []string{"b"}, Forced: []string{"new", "old"},
	}
	got := now.After(was)
	want := record.PF{
		Made: &record.Made{
			NumVFs: 0, Wrote: map[record.Setting][]string{record.NumVFs: {"4"}, record.MTU: {"9000"}},
			Overrides: map[int]string{1: "none"},
		},
		Open: []string{"b", "a"}, Refused: map[string]record.Refusal{"r": {Value: "1"}}, Forced: []string{"old", "new"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(was.Made.Wrote) != 1 || len(now.Open) != 1 {
		t.Error("an argument was changed")
	}
}

// What a run writes is recorded before it: the values of settings that a reset brings
// back, overrides, and the attributes that may not be seen later.
func TestBeginRecordsIntents(t *testing.T) {
	numVFs := func(n string) record.Intent { return record.Intent{ID: "n" + n, Setting: record.NumVFs, Value: n} }
	intents := []record.Intent{
		{ID: "zero", Value: "0"}, numVFs("4"), numVFs("6"), numVFs("8"),
		{ID: "mode", Setting: record.EswitchMode, Value: "switchdev"},
		{ID: "override", Overrides: []int{0, 2}, Value: "vfio-pci"},
		{ID: "vlan", Attribute: true, Value: "100"},
	}
	begin := func(reset bool, ids ...[]string) record.PF {
		r := record.Record{BootID: "b"}
		for _, ids := range ids {
			r = r.Begin(record.Run{Card: card, Intents: intents, Reset: reset}, ids)
		}
		return r.PFs[pf]
	}
	for name, c := range map[string]struct {
		got  record.PF
		want record.PF
	}{
		"nothing": {begin(false, nil), record.PF{Made: &record.Made{}}},
		"0 VFs":   {begin(false, []string{"zero"}), record.PF{Made: &record.Made{}}},
		"the last two values": {
			begin(false, []string{"n4"}, []string{"n6"}, []string{"n8"}),
			record.PF{Made: &record.Made{Wrote: map[record.Setting][]string{record.NumVFs: {"6", "8"}}}},
		},
		"one value twice": {
			begin(false, []string{"n4"}, []string{"n6"}, []string{"n6"}),
			record.PF{Made: &record.Made{Wrote: map[record.Setting][]string{record.NumVFs: {"4", "6"}}}},
		},
		"others": {
			begin(false, []string{"mode", "override", "vlan"}),
			record.PF{Open: []string{"vlan"}, Made: &record.Made{
				Wrote: map[record.Setting][]string{record.EswitchMode: {"switchdev"}}, Overrides: map[int]string{0: "vfio-pci", 2: "vfio-pci"},
			}},
		},
		"a reset": {begin(true, []string{"n4", "mode", "override"}), record.PF{Made: &record.Made{}}},
	} {
		c.want.Device, c.want.PermMAC = card.Device, card.PermMAC
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// An attribute is open until a run that had it in its plan is over without failing at
// it: no other run closes it.
func TestEndClosesWhatIsDone(t *testing.T) {
	run := func(reset bool, ids ...string) record.Run {
		out := record.Run{Card: card, Reset: reset, Intents: []record.Intent{{ID: "pf/numvfs", Setting: record.NumVFs, Value: "4"}}}
		for _, id := range ids {
			out.Intents = append(out.Intents, record.Intent{ID: id, Attribute: true})
		}
		return out
	}
	r := record.Record{BootID: "b"}.Begin(run(false, "mac", "vlan"), []string{"pf/numvfs", "mac", "vlan"})
	for name, c := range map[string]struct {
		run   record.Run
		out   record.Outcome
		open  []string
		clear bool
	}{
		"done":               {run: run(false, "mac", "vlan")},
		"one failed":         {run: run(false, "mac", "vlan"), out: record.Outcome{Unfinished: []string{"pf/numvfs", "vlan"}}, open: []string{"vlan"}},
		"not in this plan":   {run: run(false, "mac"), open: []string{"vlan"}},
		"another run":        {run: run(false), open: []string{"mac", "vlan"}},
		"a reset":            {run: run(true), clear: true},
		"a reset failed":     {run: run(true), out: record.Outcome{Unfinished: []string{"pf/numvfs"}}, open: []string{"mac", "vlan"}},
		"a reset that waits": {run: run(true), out: record.Outcome{Waiting: true}, open: []string{"mac", "vlan"}},
	} {
		f := r.End(c.run, c.out).PFs[pf]
		if d := cmp.Diff(c.open, f.Open); d != "" {
			t.Errorf("%s: open (-want +got):\n%s", name, d)
		}
		if (f.Made == nil) != c.clear {
			t.Errorf("%s: made %+v", name, f.Made)
		}
	}
	answer := record.Refusal{Value: "on", Answer: "EOPNOTSUPP"}
	f := r.End(run(false, "mac", "vlan"), record.Outcome{Refused: map[string]record.Refusal{"vlan": answer}}).PFs[pf]
	if f.Refused["vlan"] != answer || len(f.Open) > 0 {
		t.Errorf("refused: %+v", f)
	}
}

func TestRefusalHolds(t *testing.T) {
	for _, c := range []struct {
		r       record.Refusal
		value   string
		carrier bool
		want    bool
	}{
		{record.Refusal{Value: "on"}, "on", false, true},
		{record.Refusal{Value: "on"}, "off", false, false},
		{record.Refusal{Value: "on", Volatile: true}, "on", false, true},
		{record.Refusal{Value: "on", Volatile: true}, "on", true, false},
		{record.Refusal{Value: "on", Volatile: true, Carrier: true}, "on", true, true},
		{record.Refusal{Value: "on", Volatile: true, Carrier: true}, "on", false, true},
	} {
		if got := c.r.Holds(c.value, c.carrier); got != c.want {
			t.Errorf("%+v, %s, link %v: %v", c.r, c.value, c.carrier, got)
		}
	}
}

// A PF keeps its proof until it is seen to be an uplink.
func TestProven(t *testing.T) {
	see := func(r record.Record, e record.Evidence) (record.Record, bool) {
		e.Card = card
		return r.Proven([]record.Evidence{e}, "h2")
	}
	r := record.Record{BootID: "b", PFs: map[string]record.PF{pf: {Device: card.Device, SafeSpec: "h1"}}}
	for name, c := range map[string]struct {
		seen record.Evidence
		want string
	}{
		"nothing known": {record.Evidence{}, "h1"},
		"safe":          {record.Evidence{Safe: true}, "h2"},
		"uplink":        {record.Evidence{Uplink: true}, ""},
	} {
		got, changed := see(r, c.seen)
		if safe := got.PFs[pf].SafeSpec; safe != c.want || changed != (c.want != "h1") {
			t.Errorf("%s: %q, changed %v", name, safe, changed)
		}
		if _, again := see(got, c.seen); again {
			t.Errorf("%s: changed twice", name)
		}
	}
}

func TestAcknowledge(t *testing.T) {
	tokens := func(text string, done bool) record.Tokens {
		return record.Tokens{Config: true, All: []string{text}, PFs: []record.Token{{Card: card, Text: text, Done: done}}}
	}
	r := record.Record{BootID: "b"}
	if got, done := r.Acknowledge(tokens("a", false)); len(done) > 0 || len(got.PFs) > 0 {
		t.Errorf("a token is acknowledged before it is carried out: %v", done)
	}
	r, done := r.Acknowledge(tokens("a", true))
	if d := cmp.Diff([]string{pf}, done); d != "" {
		t.Error(d)
	}
	if _, again := r.Acknowledge(tokens("a", true)); len(again) > 0 {
		t.Error("acknowledged twice")
	}
	for i := range 20 {
		r, _ = r.Acknowledge(tokens(strconv.Itoa(i), true))
	}
	if f := r.PFs[pf].Forced; len(f) != 16 || f[0] != "4" || f[15] != "19" {
		t.Errorf("kept %q", f)
	}

	lost := record.Record{BootID: "b", Lost: true, Spent: []string{"older"}}
	if got, done := lost.Acknowledge(record.Tokens{}); !got.Lost || len(done) > 0 {
		t.Errorf("without a config: %+v, %v", got, done)
	}
	got, done := lost.Acknowledge(tokens("a", false))
	if d := cmp.Diff([]string{"older", "a"}, got.Spent); d != "" || got.Lost || len(done) != 1 {
		t.Errorf("lost %v, acknowledged on %v, spent (-want +got):\n%s", got.Lost, done, d)
	}
}

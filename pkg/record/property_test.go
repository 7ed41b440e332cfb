package record_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/record/recordtest"
)

// What is written is read: all of it, and nothing else.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := recordtest.Record().Draw(t, "record")
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got record.Record
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// No method changes the record that it is called on, nor shares with it what a later
// one changes.
func TestRecordsAreValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := recordtest.Record().Draw(t, "record")
		run := recordtest.Run().Draw(t, "run")
		ids := make([]string, 0, len(run.Intents))
		for _, in := range run.Intents {
			ids = append(ids, in.ID)
		}
		before, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		next := r.Begin(run, ids)
		next = next.End(run, record.Outcome{Unfinished: ids, Refused: map[string]record.Refusal{"x": {Value: "1"}}}).Begin(run, ids)
		next, _ = next.Proven([]record.Evidence{{Card: run.Card, Safe: true}}, "hash")
		next, _ = next.Acknowledge(record.Tokens{Config: true, All: ids, PFs: []record.Token{{Card: run.Card, Text: "t", Done: true}}})
		for a, f := range r.PFs {
			merged := next.PFs[a].After(f)
			if merged.Made != nil {
				merged.Made.NumVFs++
				for s := range merged.Made.Wrote {
					merged.Made.Wrote[s][0] = "changed"
				}
			}
		}
		next.Boot("other")
		after, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(before), string(after)); d != "" {
			t.Errorf("the record was changed (-before +after):\n%s", d)
		}
	})
}

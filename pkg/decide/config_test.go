package decide_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

func newest(name string) *decide.Document {
	d := &decide.Document{Path: "sriov.yaml", Present: true}
	switch name {
	case "unknown":
		return nil
	case "absent":
		d.Present = false
	case "good":
		d.Parsed = parsed("new")
		d.Warnings = []*spec.Error{{Msg: "careful"}}
	case "bad":
		d.Parsed = decide.Parsed{Data: []byte("bad"), Hash: "bad", Err: &spec.Errors{List: []*spec.Error{{Msg: "one"}, {Msg: "two"}}}}
	case "unreadable":
		d.Err = errors.New("two files")
	}
	return d
}

func lastGood(name string) decide.LastGood {
	switch name {
	case "none":
		return decide.LastGood{Known: true, None: true}
	case "good":
		return decide.LastGood{Known: true, Parsed: parsed("old")}
	case "same":
		return decide.LastGood{Known: true, Parsed: parsed("new")}
	case "bad now": // a newer version of this program refuses it
		return decide.LastGood{Known: true, Parsed: decide.Parsed{Data: []byte("old"), Hash: "old", Err: errors.New("refused")}}
	}
	return decide.LastGood{}
}

// TestConfigInForce is rule 4: which config is in force for each newest one and each
// last good one, what is reported of the newest, and whether it becomes the last good.
func TestConfigInForce(t *testing.T) {
	const nothing, absence = "-", ""
	type outcome struct {
		known, last          bool
		state                status.SpecState
		hash, inForce, rules string // of the newest; as reported; as it is
		accept               string // its content
	}
	unknown := outcome{false, false, status.SpecUnknown, "", "", nothing, nothing}
	absent := outcome{true, false, status.SpecAbsent, "", "", nothing, absence}
	good := outcome{true, false, status.SpecAccepted, "new", "new", "new", "new"}
	// refused is what a bad one with the hash leaves.
	refused := func(hash string) map[string]outcome {
		return map[string]outcome{
			"unknown": {false, false, status.SpecRefused, hash, "", nothing, nothing},
			"none":    {true, false, status.SpecRefused, hash, "", nothing, nothing},
			"good":    {true, true, status.SpecRefused, hash, "old", "old", nothing},
			"same":    {true, true, status.SpecRefused, hash, "new", "new", nothing},
			"bad now": {false, false, status.SpecRefused, hash, "", nothing, nothing},
		}
	}
	always := func(o outcome) map[string]outcome {
		return map[string]outcome{"unknown": o, "none": o, "good": o, "same": o, "bad now": o}
	}
	for name, byLast := range map[string]map[string]outcome{
		"unknown": always(unknown), "absent": always(absent), "good": always(good),
		"bad": refused("bad"), "unreadable": refused(""),
	} {
		for last, want := range byLast {
			t.Run(fmt.Sprintf("newest %s, last good %s", name, last), func(t *testing.T) {
				w := newWorld(t)
				w.config = decide.Config{Newest: newest(name), LastGood: lastGood(last)}
				d := w.look()
				got := outcome{d.Known, d.Spec.LastGood, d.Spec.State, d.Spec.Hash, d.Spec.InForce, nothing, nothing}
				if d.Config != nil {
					got.rules = d.Hash
				} else if d.Hash != "" {
					t.Errorf("no config, and its hash is %q", d.Hash)
				}
				if d.Accept != nil {
					got.accept = string(d.Accept.Data)
				}
				if got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
			})
		}
	}
}

// TestPartlyAccepted: what a PF cannot be keeps the newest config from displacing the
// last good one, as long as that is in force on any PF. Where it is in force nowhere,
// there is nothing to keep.
func TestPartlyAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		newest, good []spec.PhysicalFunction
		state        status.SpecState
		accept       bool
		starts       string
	}{
		"supported":              {newest: []spec.PhysicalFunction{entry(pfA, 4)}, state: status.SpecAccepted, accept: true, starts: pfA},
		"nothing was ever there": {newest: []spec.PhysicalFunction{entry(pfA, 9)}, state: status.SpecPartly, accept: true},
		"the last good one stays": {
			newest: []spec.PhysicalFunction{entry(pfA, 9), entry(pfB, 2)}, good: []spec.PhysicalFunction{entry(pfA, 3)},
			state: status.SpecPartly, starts: pfA + " " + pfB,
		},
		"the last good one had another PF": {
			newest: []spec.PhysicalFunction{entry(pfA, 9)}, good: []spec.PhysicalFunction{entry(pfB, 3)},
			state: status.SpecPartly, accept: true,
		},
		"nor is the last good one supported": {
			newest: []spec.PhysicalFunction{entry(pfA, 9)}, good: []spec.PhysicalFunction{entry(pfA, 8)},
			state: status.SpecPartly, accept: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Newest = &decide.Document{Present: true, Parsed: parsed("new", c.newest...)}
			if c.good != nil {
				w.config.LastGood = decide.LastGood{Known: true, Parsed: parsed("old", c.good...)}
			}
			d := w.look()
			if d.Spec.State != c.state || (d.Accept != nil) != c.accept || d.Spec.InForce != "new" || d.Hash != "new" {
				t.Errorf("%+v, accepted %v", d.Spec, d.Accept)
			}
			w.wantStart(name, &d, c.starts)
		})
	}
}

// What is wrong with the newest config, and what to mind, is reported as it is.
func TestErrorsAndWarningsOfTheConfig(t *testing.T) {
	for name, want := range map[string][3]int{"good": {0, 1}, "bad": {2, 0}, "unreadable": {1, 0}, "absent": {}} {
		w := newWorld(t)
		w.config.Newest = newest(name)
		if s := w.look().Spec; len(s.Errors) != want[0] || len(s.Warnings) != want[1] || s.Source != "sriov.yaml" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Before Talos has loaded the machine config there is no document either. Its absence
// is taken for a removal once there was one, or a kubelet, which starts later.
func TestAbsenceAtAnEarlyStart(t *testing.T) {
	look := func(w *world, answered bool) bool {
		o := w.observe()
		o.Answered = answered
		d := w.decide(o)
		return d.Accept != nil && len(d.Accept.Data) == 0
	}
	w := newWorld(t)
	w.config = decide.Config{Newest: newest("absent"), LastGood: lastGood("good")}
	if look(w, false) {
		t.Error("accepted without a kubelet and an earlier config")
	}
	if !look(w, true) {
		t.Error("not accepted although a kubelet answered")
	}
	if look(w, false) {
		t.Error("accepted without a kubelet, after one answered once")
	}
	w.config.Newest = newest("bad")
	w.look()
	w.config.Newest = newest("absent")
	if !look(w, false) {
		t.Error("not accepted although there was a config, if a bad one")
	}
}

// That there was a config is also known of one that came while nothing could be read.
func TestConfigSeenWhileNothingWasRead(t *testing.T) {
	w := newWorld(t)
	w.config.Newest = newest("good")
	w.decide(decide.Observation{})
	w.config.Newest = newest("absent")
	o := w.observe()
	o.Answered = false
	if d := w.decide(o); d.Accept == nil {
		t.Error("the removal of a config that was seen is not accepted")
	}
}

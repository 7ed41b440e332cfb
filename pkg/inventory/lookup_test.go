package inventory

import "testing"

func TestLookups(t *testing.T) {
	s := &Snapshot{
		PFs: []PF{
			{Function: Function{Address: "a"}, VFs: []VF{{Function: Function{Address: "a0"}}}},
			{Function: Function{Address: "b"}, VFs: []VF{{Function: Function{Address: "b0"}}, {Function: Function{Address: "b1"}, Index: 1}}},
		},
		Others:       []Function{{Address: "o"}, {Address: "p"}},
		Subfunctions: []Subfunction{{Name: "x.sf.1"}, {Name: "x.sf.2"}},
	}
	b := &s.PFs[1]
	for id, want := range map[string]Device{
		"b":      {Function: &b.Function, PF: b},
		"b1":     {Function: &b.VFs[1].Function, PF: b, VF: &b.VFs[1]},
		"p":      {Function: &s.Others[1]},
		"x.sf.2": {Subfunction: &s.Subfunctions[1]},
	} {
		if got, ok := s.Device(id); !ok || got != want {
			t.Errorf("device %s: %+v, %v; want %+v", id, got, ok, want)
		}
	}
	if vf, pf := s.VF("b1"); vf != &b.VFs[1] || pf != b || s.PF("b") != b {
		t.Errorf("VF b1: %p of %p", vf, pf)
	}
	for name, none := range map[string]*Snapshot{"no snapshot": nil, "another device": s} {
		_, ok := none.Device("z")
		if vf, pf := none.VF("z"); ok || vf != nil || pf != nil || none.PF("z") != nil {
			t.Errorf("%s has a device z", name)
		}
	}
	if vf, pf := s.VF("p"); vf != nil || pf != nil {
		t.Error("a function without a PF is a VF of one")
	}
}

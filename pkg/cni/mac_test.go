package cni

import (
	"syscall"
	"testing"
)

// igb refuses an untrusted VF's request about its MAC once the PF fixed one, which
// it does when it makes the VF.
func TestStickyMAC(t *testing.T) {
	t.Parallel()
	for _, fixed := range []bool{false, true} {
		for _, dead := range []bool{false, true} {
			r := newRig(t, 1)
			r.m.sticky = true
			if fixed {
				r.m.vfs[0].MAC = r.m.vfLink(0).MAC
			}
			before := r.m.state()
			args := cmd("c1", "/ns/a", conf(0, `"mac":"02:00:00:00:00:aa"`))
			_, err := r.Add(t.Context(), args)
			must(t, err)
			if l := r.m.vfLink(0); l.MAC.String() != "02:00:00:00:00:aa" || *r.m.vfs[0].Trust {
				t.Errorf("MAC is %s, trust %v", l.MAC, *r.m.vfs[0].Trust)
			}
			if dead {
				r.m.kill("/ns/a")
			}
			must(t, r.Del(t.Context(), args))
			r.untouched(t, before)
		}
	}
}

// A VF that was trusted for a moment, and could not be made untrusted, is not taken
// for one whose driver refuses a MAC: DEL fails, and the next one ends the trust.
func TestTrustThatCannotBeEnded(t *testing.T) {
	t.Parallel()
	for call, verb := range map[int]string{1: "raise", 2: "end"} {
		r := newRig(t, 1)
		r.m.sticky = true
		r.m.vfs[0].MAC = r.m.vfLink(0).MAC
		before := r.m.state()
		args := cmd("c1", "/ns/a", conf(0, `"mac":"02:00:00:00:00:aa"`))
		_, err := r.Add(t.Context(), args)
		must(t, err)
		count := 0
		r.m.fail = func(name string) error {
			if name == "vf-trust" {
				if count++; count == call {
					return syscall.EPERM // which is also a driver's refusal of a MAC
				}
			}
			return nil
		}
		if err := r.Del(t.Context(), args); err == nil || count != call {
			t.Errorf("DEL succeeded, and the VF was not trusted properly (%s, %d calls)", verb, count)
		}
		must(t, r.Del(t.Context(), args))
		r.untouched(t, before)
	}
}

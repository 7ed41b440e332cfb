package cni

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// tb is what helpers need of a test and of a property.
type tb interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Error(args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// property checks it that many hundred times, on directories of its own.
func property(t *testing.T, hundreds int, check func(t *rapid.T, dir string)) {
	t.Helper()
	for i := range hundreds {
		if t.Failed() {
			return // it is shrunk once
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			root := t.TempDir()
			rapid.Check(t, func(rt *rapid.T) {
				dir, err := os.MkdirTemp(root, "")
				must(rt, err)
				check(rt, dir)
			})
		})
	}
}

// Any sequence of ADD, DEL, CHECK, GC, dying namespaces and new ones, with
// faults at any changing call, ends with each VF either in exactly the pod that
// its allocation names, with a cache, or on the host as it was.
func TestAnySequence(t *testing.T) {
	t.Parallel()
	property(t, 3, func(t *rapid.T, dir string) {
		s := newSequence(t, dir)
		for step := range 14 {
			s.step(t, step)
			s.invariant(t)
		}
		s.end(t)
	})
}

// seqPod is a pod of a sequence.
type seqPod struct {
	container, netns, conf string
	vf                     int
}

type sequence struct {
	*rig
	before string
	chance int               // of a fault: one in so many calls, 0 for none
	pods   map[string]seqPod // ADD succeeded, DEL not yet
	debts  map[string]seqPod // DEL has to come
}

func newSequence(t *rapid.T, dir string) *sequence {
	s := &sequence{rig: newRigIn(dir, 3), pods: map[string]seqPod{}, debts: map[string]seqPod{}}
	s.m.sticky = rapid.Bool().Draw(t, "sticky")
	if rapid.Bool().Draw(t, "the PF fixed the MACs") {
		for i, v := range s.m.vfs {
			v.MAC = s.m.vfLink(i).MAC
		}
	}
	s.before = s.m.state()
	errno := rapid.SampledFrom([]error{syscall.EIO, syscall.EBUSY, syscall.ENOMEM})
	s.m.fail = func(call string) error {
		if s.chance > 0 && rapid.IntRange(0, s.chance-1).Draw(t, call) == 0 {
			return errno.Draw(t, "errno")
		}
		return nil
	}
	return s
}

func (s *sequence) step(t *rapid.T, step int) {
	s.chance = rapid.SampledFrom([]int{0, 8, 16}).Draw(t, "chance")
	what := rapid.SampledFrom([]string{"ADD", "ADD", "ADD", "DEL", "DEL", "KILL", "GC"}).Draw(t, "what")
	if what == "ADD" {
		s.addOne(t, fmt.Sprintf("c%d", step))
		return
	}
	if what == "GC" {
		s.gc(t)
		return
	}
	if len(s.debts) == 0 {
		return
	}
	c := rapid.SampledFrom(slices.Sorted(maps.Keys(s.debts))).Draw(t, "pod")
	p := s.debts[c]
	delete(s.pods, c)
	if what == "KILL" {
		s.m.kill(p.netns)
		return
	}
	err := s.Del(t.Context(), cmd(p.container, p.netns, p.conf))
	t.Logf("DEL %s: %v", c, err)
	if err == nil {
		delete(s.debts, c)
	}
}

func (s *sequence) addOne(t *rapid.T, container string) {
	p := seqPod{container: container, netns: "/ns/" + container, vf: rapid.IntRange(0, 2).Draw(t, "vf")}
	s.m.spaces[p.netns] = true
	p.conf = conf(p.vf, rapid.SampledFrom([]string{everything, `"vlan":7`, `"mac":"02:00:00:00:00:bb"`, `"trust":"on","mtu":2000`, `"rdma":true`}).Draw(t, "conf"))
	_, err := s.Add(t.Context(), cmd(p.container, p.netns, p.conf))
	t.Logf("ADD %s of VF %d: %v", container, p.vf, err)
	if s.debts[container] = p; err == nil {
		s.pods[container] = p
	}
}

// gc has the runtime name all pods that live.
func (s *sequence) gc(t *rapid.T) {
	if len(s.pods) == 0 {
		return
	}
	var valid []string
	for _, c := range slices.Sorted(maps.Keys(s.pods)) {
		valid = append(valid, fmt.Sprintf(`{"containerID":%q,"ifname":"net1"}`, c))
	}
	err := s.GC(t.Context(), cmd("", "", `{"cniVersion":"1.1.0","name":"net","cni.dev/valid-attachments":[`+strings.Join(valid, ",")+`]}`))
	t.Logf("GC: %v", err)
}

// invariant: each living pod has its VF.
func (s *sequence) invariant(t *rapid.T) {
	s.chance = 0
	for c, p := range s.pods {
		l := s.m.vfLink(p.vf)
		owner, err := s.store().Owner(vfAddr(p.vf))
		if l.ns != p.netns || l.Name != "net1" || owner != p.netns || err != nil {
			t.Errorf("pod %s lost VF %d: %+v, allocated to %q", c, p.vf, l, owner)
		}
		if err := s.Check(t.Context(), cmd(p.container, p.netns, p.conf)); err != nil {
			t.Errorf("CHECK %s: %v", c, err)
		}
	}
}

// end: after the last DELs everything is as it was.
func (s *sequence) end(t *rapid.T) {
	for _, c := range slices.Sorted(maps.Keys(s.debts)) {
		p := s.debts[c]
		if err := s.Del(t.Context(), cmd(p.container, p.netns, p.conf)); err != nil {
			t.Errorf("last DEL %s: %v", c, err)
		}
	}
	s.ipam.held = 0
	s.untouched(t, s.before)
}

// Pods come, die with and without DEL, and the daemon reclaims, in any order and
// with faults at any call: what lives is never touched, and in the end nothing is
// left.
func TestOrphansAnySequence(t *testing.T) {
	t.Parallel()
	property(t, 2, func(t *rapid.T, dir string) {
		r := newRigIn(dir, 3)
		before, faults := r.m.state(), false
		r.m.fail = func(call string) error {
			if faults && rapid.IntRange(0, 5).Draw(t, call) == 0 {
				return errInjected
			}
			return nil
		}
		alive := map[int]string{} // VF -> container
		for step := range 16 {
			vf, c := rapid.IntRange(0, 2).Draw(t, "vf"), fmt.Sprintf("c%d", step)
			holder := alive[vf]
			switch what := rapid.SampledFrom([]string{"ADD", "ADD", "KILL", "DEL", "RECLAIM"}).Draw(t, "what"); {
			case what == "ADD" && holder == "":
				r.m.spaces["/ns/"+c] = true
				_, err := r.Add(t.Context(), cmd(c, "/ns/"+c, conf(vf, rapid.SampledFrom([]string{everything, `"vlan":7`, ""}).Draw(t, "conf"))))
				t.Logf("ADD %s of VF %d: %v", c, vf, err)
				if err == nil {
					alive[vf] = c
				}
			case what == "KILL" && holder != "":
				r.m.kill("/ns/" + holder)
				delete(alive, vf)
			case what == "DEL" && holder != "":
				must(t, r.Del(t.Context(), cmd(holder, "/ns/"+holder, conf(vf, ""))))
				r.m.kill("/ns/" + holder)
				delete(alive, vf)
			default:
				list, err := r.Orphans()
				must(t, err)
				faults = rapid.Bool().Draw(t, "faults")
				for _, o := range list {
					t.Logf("reclaim %s: %v", o.File, r.Reclaim(t.Context(), o))
				}
				faults = false
			}
			for vf, c := range alive {
				if l := r.m.vfLink(vf); l.ns != "/ns/"+c || l.Name != "net1" {
					t.Errorf("pod %s lost VF %d: %+v", c, vf, l)
				}
			}
		}
		for _, c := range alive {
			r.m.kill("/ns/" + c)
		}
		r.reclaim(t)
		if got := r.m.state(); got != before {
			t.Errorf("before\n%safter\n%s", before, got)
		}
		if left := r.residue(t); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

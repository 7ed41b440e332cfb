package cni

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Any sequence of ADD, DEL, CHECK, GC, dying namespaces and new ones, with
// faults at any changing call, ends with each VF either in exactly the pod that
// its allocation names, with a cache, or on the host as it was.
func TestAnySequence(t *testing.T) {
	for seed := range uint64(250) {
		sequence(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type pod struct {
	container, netns, conf string
	vf                     int
}

func sequence(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, 3)
	r.m.sticky = seed%2 == 0
	for i, v := range r.m.vfs {
		if seed%4 < 2 {
			v.MAC = r.m.vfLink(i).MAC
		}
	}
	before := r.m.state()
	chance := 0
	r.m.fail = func(string) error {
		if chance > 0 && rnd.IntN(chance) == 0 {
			return []error{syscall.EIO, syscall.EBUSY, syscall.ENOMEM}[rnd.IntN(3)]
		}
		return nil
	}
	pods := map[string]pod{} // ADD succeeded, DEL not yet
	debts := map[string]pod{}
	var log []string
	for step := range 14 {
		chance = rnd.IntN(3) * 8 // none, often, seldom
		switch rnd.IntN(7) {
		case 0, 1, 2:
			p := pod{container: fmt.Sprintf("c%d", step), vf: rnd.IntN(3)}
			p.netns = "/ns/" + p.container
			r.m.spaces[p.netns] = true
			p.conf = conf(p.vf, []string{everything, `"vlan":7`, `"mac":"02:00:00:00:00:bb"`, `"trust":"on","mtu":2000`, `"rdma":true`}[rnd.IntN(5)])
			_, err := r.Add(t.Context(), cmd(p.container, p.netns, p.conf))
			log = append(log, fmt.Sprint("ADD ", p.container, " ", p.vf, " ", err))
			if debts[p.container] = p; err == nil {
				pods[p.container] = p
			}
		case 3, 4:
			for _, c := range slices.Sorted(maps.Keys(debts)) {
				p := debts[c]
				err := r.Del(t.Context(), cmd(p.container, p.netns, p.conf))
				log = append(log, fmt.Sprint("DEL ", c, " ", err))
				delete(pods, c)
				if err == nil {
					delete(debts, c)
				}
				break
			}
		case 5:
			for _, c := range slices.Sorted(maps.Keys(debts)) {
				r.m.kill(debts[c].netns)
				log = append(log, "KILL "+c)
				delete(pods, c)
				break
			}
		case 6:
			if len(pods) == 0 {
				continue
			}
			var valid []string
			for c := range pods {
				valid = append(valid, fmt.Sprintf(`{"containerID":%q,"ifname":"net1"}`, c))
			}
			err := r.GC(t.Context(), cmd("", "", `{"cniVersion":"1.1.0","name":"net","cni.dev/valid-attachments":[`+strings.Join(valid, ",")+`]}`))
			log = append(log, fmt.Sprint("GC ", err))
		}
		for c, p := range pods {
			l := r.m.vfLink(p.vf)
			owner, err := r.store().Owner(vfAddr(p.vf))
			if l.ns != p.netns || l.Name != "net1" || owner != p.netns || err != nil {
				t.Errorf("pod %s lost VF %d: %+v, allocated to %q", c, p.vf, l, owner)
			}
			chance = 0
			if err := r.Check(t.Context(), cmd(p.container, p.netns, p.conf)); err != nil {
				t.Errorf("CHECK %s: %v", c, err)
			}
		}
	}
	chance = 0
	for _, c := range slices.Sorted(maps.Keys(debts)) {
		p := debts[c]
		if err := r.Del(t.Context(), cmd(p.container, p.netns, p.conf)); err != nil {
			t.Errorf("last DEL %s: %v", c, err)
		}
	}
	r.ipam.held = 0
	r.untouched(t, before)
	if t.Failed() {
		t.Logf("sequence:\n%s", strings.Join(log, "\n"))
	}
}

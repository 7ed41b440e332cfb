package use_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const (
	pf    = "0000:21:00.0"
	other = "0000:31:00.0"
	sf    = "mlx5_core.sf.4"
)

// machine has one device of each kind. The PF and the other function have a driver and
// no interface, as at a boot.
func machine() *inventory.Snapshot {
	s := snapshot("igbvf", inventory.Netdev{Name: "enp33s0v0"})
	s.PFs[0].Function = inventory.Function{Address: pf, Class: "020000", Driver: "igb"}
	s.PFs[0].Uplink, s.PFs[0].Upper = "carries the IPv4 default route", "bond0 (bond)"
	s.Others = []inventory.Function{{Address: other, Class: "020000", Driver: "e1000e"}}
	s.Subfunctions = []inventory.Subfunction{{Name: sf, Parent: pf}}
	s.HostUnknown = map[string]string{pf: "no answer", other: "no answer", sf: "no answer"}
	s.OtherUse = map[string]string{other: "carries an address"}
	return s
}

// What is no VF is judged by what the kubelet and we have written down, and waits for a
// silent kubelet only when a pool may have offered it.
func TestJudgeOtherDevices(t *testing.T) {
	silent := use.Kubelet{Err: "no kubelet listens"}
	none := map[string]bool{}
	for _, id := range []string{pf, other, sf} {
		held := map[string][]use.Holder{id: {{Device: id, Namespace: "ns", Pod: "p", Evidence: use.EvidencePodResources}}}
		entry := use.Checkpoint{Entries: []use.Entry{{PodUID: podUID, Resource: "example.com/pf", Devices: []string{id}}}}
		offered := map[string]bool{id: true}
		for name, c := range map[string]struct {
			ev   use.Evidence
			want use.State
		}{
			"early start":                        {use.Evidence{Offered: offered}, use.Free},
			"early start, not known what we had": {use.Evidence{}, use.Free},
			"listed":                             {use.Evidence{Offered: none, Kubelet: use.Kubelet{Answered: true, Held: held}}, use.Held},
			"not listed":                         {use.Evidence{Offered: offered, Kubelet: use.Kubelet{Answered: true}}, use.Free},
			"noted":                              {use.Evidence{Offered: none, Notes: []use.Note{{Device: id, At: t0}}}, use.Held},
			"in the checkpoint":                  {use.Evidence{Offered: none, KubeletSeen: true, Kubelet: use.Kubelet{Checkpoint: entry}}, use.Held},
			"silent, offered":                    {use.Evidence{Offered: offered, KubeletSeen: true, Kubelet: silent}, use.Unknown},
			"silent, given in the boot before":   {use.Evidence{Offered: none, Given: []string{id}, KubeletSeen: true, Kubelet: silent}, use.Unknown},
			"silent, not known what was offered": {use.Evidence{KubeletSeen: true, Kubelet: silent}, use.Unknown},
			"silent, never offered":              {use.Evidence{Offered: none, KubeletSeen: true, Kubelet: silent}, use.Free},
			"hangs, offered":                     {use.Evidence{Offered: offered, Kubelet: use.Kubelet{Listening: true}}, use.Unknown},
			"open":                               {use.Evidence{Offered: none, Open: map[string]use.Answer{id: {State: use.Open}}}, use.Held},
			"cannot be asked":                    {use.Evidence{Offered: none, Open: map[string]use.Answer{id: {}}}, use.Held},
		} {
			c.ev.Snapshot = machine()
			if got := use.Judge(c.ev).Of(id); got.State != c.want {
				t.Errorf("%s, %s: %v by %q, want %v", id, name, got.State, use.Names(got.Holders), c.want)
			}
		}
	}
}

// The resource under which a device is held comes with each kind of evidence that knows
// it: another resource's pool must not offer the device.
func TestHoldersNameTheResource(t *testing.T) {
	ev := use.Evidence{Snapshot: machine(), KubeletSeen: true, Notes: []use.Note{{Device: pf, Resource: "example.com/old", At: t0}}}
	ev.Kubelet = use.Kubelet{Held: map[string][]use.Holder{other: {{Device: other, Pod: "p", Resource: "example.com/listed"}}}, Checkpoint: given(podUID, nil)}
	got := use.Judge(ev)
	for id, want := range map[string]string{pf: "example.com/old", other: "example.com/listed", vf: "example.com/rdma"} {
		if h := got.Of(id).Holders; len(h) != 1 || h[0].Resource != want {
			t.Errorf("%s is held by %+v, want under %s", id, h, want)
		}
	}
}

// Two notes of one device are two allocations, each with its own end.
func TestSeveralNotesOfOneDevice(t *testing.T) {
	late := t0.Add(use.Grace)
	old := use.Note{ID: 1, Device: vf, Resource: "example.com/a", At: t0}
	young := use.Note{ID: 2, Device: vf, Resource: "example.com/b", At: late}
	both := []use.Note{old, young}
	got := use.Judge(use.Evidence{Snapshot: machine(), Notes: both}).Of(vf)
	if len(got.Holders) != 2 || got.Holders[0].Resource == got.Holders[1].Resource {
		t.Errorf("held by %+v, want both allocations", got.Holders)
	}
	k := use.Kubelet{Answered: true, Since: t0}
	if got := use.Settle(both, both, k, late); len(got) != 1 || got[0].ID != 2 {
		t.Errorf("settled to %+v, want the young one", got)
	}
	k.Held = map[string][]use.Holder{vf: {{Device: vf, Pod: "p", Resource: "example.com/b"}}}
	if got := use.Settle(both, both, k, late); len(got) != 1 || got[0].ID != 2 || got[0].Listed == nil {
		t.Errorf("settled to %+v, want the one that is listed under its resource", got)
	}
	k.Held = nil
	if got := use.Settle(both, []use.Note{young}, k, late.Add(use.Grace)); len(got) != 1 || got[0].ID != 1 {
		t.Errorf("settled to %+v, want the one that the question did not know", got)
	}
	// One note twice, with what an older and a newer answer made of it.
	if got := use.Settle([]use.Note{old, old}, []use.Note{old}, use.Kubelet{}, late); len(got) != 2 {
		t.Errorf("a kubelet that does not answer removed %+v", got)
	}
}

// The pods of anyEvidence, in one order.
var (
	somePods = []use.Pod{web, proxy, static}
	someUIDs = []string{podUID, otherUID, staticUID}
)

// anyEvidence is what may be known of the machine at some moment.
func anyEvidence(t *rapid.T) use.Evidence {
	some := func(label string) []string {
		all := rapid.SliceOfN(rapid.SampledFrom([]string{pf, vf, other, sf}), 0, 3).Draw(t, label)
		return slices.Compact(slices.Sorted(slices.Values(all)))
	}
	ev := use.Evidence{Snapshot: machine(), KubeletSeen: rapid.Bool().Draw(t, "seen"), Given: some("given")}
	ev.Now = t0.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "minutes")) * time.Minute)
	if rapid.Bool().Draw(t, "offers known") {
		ev.Offered = map[string]bool{}
		for _, id := range some("offered") {
			ev.Offered[id] = true
		}
	}
	k := &ev.Kubelet
	*k = use.Kubelet{
		Answered: rapid.Bool().Draw(t, "answered"), Listening: rapid.Bool().Draw(t, "listening"), Since: t0,
		Held: map[string][]use.Holder{}, Pods: map[use.Pod]bool{}, Checkpoint: use.Checkpoint{Names: map[string]use.Pod{}},
	}
	for i := range someUIDs {
		if rapid.Bool().Draw(t, "logged") {
			k.Checkpoint.Names[someUIDs[i]] = somePods[i]
		}
		if k.Answered && rapid.Bool().Draw(t, "listed") {
			k.Pods[somePods[i]] = true
		}
		if devices := some("entry"); len(devices) > 0 {
			k.Checkpoint.Entries = append(k.Checkpoint.Entries, use.Entry{PodUID: someUIDs[i], Resource: fmt.Sprintf("example.com/%d", i), Devices: devices})
		}
	}
	if k.Answered {
		for _, id := range some("held") {
			k.Held[id] = []use.Holder{{Device: id, Pod: "p"}}
		}
	}
	for i, id := range some("noted") {
		ev.Notes = append(ev.Notes, use.Note{ID: uint64(i), Device: id, At: t0})
	}
	return ev
}

// Whatever names a device, and counts, it is not free.
func TestNothingThatIsNamedIsFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ev := anyEvidence(t)
		k, set := &ev.Kubelet, use.Judge(ev)
		named := map[string]string{}
		for id := range k.Held {
			named[id] = "List"
		}
		for _, n := range ev.Notes {
			named[n.Device] = "a note"
		}
		for id := range k.Entries(ev.KubeletSeen, ev.Now) {
			named[id] = "the checkpoint"
		}
		// A pod that is listed has what the file says, whether its UID is known or not.
		for _, e := range k.Checkpoint.Entries {
			if k.Pods[somePods[slices.Index(someUIDs, e.PodUID)]] {
				for _, id := range e.Devices {
					named[id] = "the entry of a listed pod"
				}
			}
		}
		for id, by := range named {
			if !set.Of(id).Busy() {
				t.Fatalf("%s is free, and %s names it: %+v", id, by, ev)
			}
		}
		if (ev.KubeletSeen || k.Listening) && !k.Answered && !set.Of(vf).Busy() {
			t.Fatal("a silent kubelet, and a VF is free")
		}
	})
}

package use_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const vf = "0000:21:10.0"

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func snapshot(driver string, netdevs ...inventory.Netdev) *inventory.Snapshot {
	return &inventory.Snapshot{PFs: []inventory.PF{{VFs: []inventory.VF{{Function: inventory.Function{
		Address: vf, Class: "020000", Driver: driver, Netdevs: netdevs,
	}}}}}}
}

func TestJudge(t *testing.T) {
	home := inventory.Netdev{Name: "enp33s0v0"}
	pod := map[string][]use.Holder{vf: {{Device: vf, Namespace: "ns", Pod: "p", Evidence: use.EvidencePodResources}}}
	note := []use.Note{{Device: vf, At: t0}}
	cases := []struct {
		name string
		ev   use.Evidence
		want use.State
		who  string
	}{
		{"early start", use.Evidence{Snapshot: snapshot("igbvf", home)}, use.Free, ""},
		{"early start, unbound", use.Evidence{Snapshot: snapshot("")}, use.Free, ""},
		{"early start, netdev away", use.Evidence{Snapshot: snapshot("igbvf")}, use.Held, "network namespace"},
		{"early start, our note", use.Evidence{Snapshot: snapshot("igbvf", home), Notes: note}, use.Held, "2026-01-01"},
		{"kubelet restarts", use.Evidence{Snapshot: snapshot("igbvf", home), KubeletSeen: true, Kubelet: use.Kubelet{Err: "no kubelet listens"}}, use.Unknown, "no kubelet listens"},
		{"kubelet restarts, vfio", use.Evidence{Snapshot: snapshot("vfio-pci"), KubeletSeen: true}, use.Unknown, "kubelet"},
		{"kubelet says free", use.Evidence{Snapshot: snapshot("igbvf", home), KubeletSeen: true, Kubelet: use.Kubelet{Answered: true}}, use.Free, ""},
		{"kubelet says held", use.Evidence{Snapshot: snapshot("igbvf", home), Kubelet: use.Kubelet{Answered: true, Held: pod}}, use.Held, "pod ns/p"},
		{"kubelet and kernel: the pod's name is enough", use.Evidence{Snapshot: snapshot("igbvf"), Kubelet: use.Kubelet{Answered: true, Held: pod}}, use.Held, "pod ns/p"},
		{"kubelet says free, kernel says away", use.Evidence{Snapshot: snapshot("igbvf"), Kubelet: use.Kubelet{Answered: true}}, use.Held, "igbvf"},
		{"vfio device open", use.Evidence{Snapshot: snapshot("vfio-pci"), Kubelet: use.Kubelet{Answered: true}, Open: map[string]use.Answer{vf: {State: use.Open, Path: "/dev/vfio/7"}}}, use.Held, "/dev/vfio/7 is open"},
		{"vfio variant driver has no netdev", use.Evidence{Snapshot: snapshot("mlx5_vfio_pci"), Kubelet: use.Kubelet{Answered: true}}, use.Free, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := use.Judge(c.ev).Of(vf)
			if got.State != c.want || got.Busy() != (c.want != use.Free) {
				t.Fatalf("%v, want %v (%+v)", got.State, c.want, got)
			}
			if names := use.Names(got.Holders); !strings.Contains(names, c.who) || (c.who == "") != (names == "") {
				t.Errorf("holders %q, want %q", names, c.who)
			}
		})
	}
}

func TestZeroSetHoldsEverything(t *testing.T) {
	var s use.Set
	if got := s.Of(vf); !got.Busy() || len(got.Holders) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestNamesOncePerPod(t *testing.T) {
	h := []use.Holder{{Namespace: "a", Pod: "x", Device: "1"}, {Namespace: "a", Pod: "x", Device: "2"}, {Namespace: "a", Pod: "y"}}
	if got := use.Names(h); got != "pod a/x, pod a/y" {
		t.Error(got)
	}
}

func TestSettle(t *testing.T) {
	late := t0.Add(use.Grace)
	listed := map[string][]use.Holder{vf: {{Pod: "p"}}}
	cases := []struct {
		name string
		note use.Note
		k    use.Kubelet
		now  time.Time
		want []use.Note
	}{
		{"no answer keeps", use.Note{Device: vf, At: t0}, use.Kubelet{}, late, []use.Note{{Device: vf, At: t0}}},
		{"young note stays though not listed", use.Note{Device: vf, At: late}, use.Kubelet{Answered: true, Since: t0}, late, []use.Note{{Device: vf, At: late}}},
		{"old note goes", use.Note{Device: vf, At: t0}, use.Kubelet{Answered: true, Since: t0}, late, nil},
		{"fresh kubelet is not believed", use.Note{Device: vf, At: t0, Listed: &t0}, use.Kubelet{Answered: true, Since: late}, late, []use.Note{{Device: vf, At: t0, Listed: &t0}}},
		{"the kubelet that listed it is believed at once", use.Note{Device: vf, At: t0, Listed: &late}, use.Kubelet{Answered: true, Since: late}, late, nil},
		{"listed is marked", use.Note{Device: vf, At: t0}, use.Kubelet{Answered: true, Since: t0, Held: listed}, late, []use.Note{{Device: vf, At: t0, Listed: &late}}},
		{"listed before and gone", use.Note{Device: vf, At: late, Listed: &t0}, use.Kubelet{Answered: true, Since: t0}, late, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, use.Settle([]use.Note{c.note}, []use.Note{c.note}, c.k, c.now)); d != "" {
				t.Error(d)
			}
		})
	}
}

// An answer says nothing of what happened after the question: the pod that it lists may
// be the one before, and what it does not list may have been allocated since.
func TestSettleByAnOldAnswer(t *testing.T) {
	now := t0.Add(2 * use.Grace)
	listed := map[string][]use.Holder{vf: {{Pod: "before"}}}
	for name, c := range map[string]struct {
		before, note use.Note
		held         map[string][]use.Holder
	}{
		"allocated since, the pod before is listed": {use.Note{Device: vf, At: t0, Listed: &t0}, use.Note{Device: vf, At: t0.Add(time.Millisecond)}, listed},
		"allocated since, nobody is listed":         {use.Note{Device: vf, At: t0, Listed: &t0}, use.Note{Device: vf, At: t0.Add(time.Millisecond)}, nil},
		"noted since":                               {use.Note{Device: "another"}, use.Note{Device: vf, At: t0}, nil},
		"a later answer listed it":                  {use.Note{Device: vf, At: t0}, use.Note{Device: vf, At: t0, Listed: &now}, nil},
	} {
		k := use.Kubelet{Answered: true, Since: t0, Held: c.held}
		if d := cmp.Diff([]use.Note{c.note}, use.Settle([]use.Note{c.note}, []use.Note{c.before}, k, now)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// The machine's own network on a VF is a holder like any other; a pod that the
// kubelet lists goes before it.
func TestHostUseHolds(t *testing.T) {
	carries := snapshot("igbvf", inventory.Netdev{Name: "enp33s0v0"})
	carries.PFs[0].VFs[0].HostUse = "is below bond0 (bond), which carries the IPv4 default route"
	early := use.Judge(use.Evidence{Snapshot: carries}).Of(vf)
	answered := use.Judge(use.Evidence{Snapshot: carries, KubeletSeen: true, Kubelet: use.Kubelet{Answered: true}}).Of(vf)
	for _, got := range []use.Status{early, answered} {
		if got.State != use.Held || got.Holders[0].Evidence != use.EvidenceHost || !strings.Contains(use.Names(got.Holders), "the host") ||
			!strings.Contains(use.Names(got.Holders), "is below bond0 (bond)") {
			t.Errorf("%v by %+v, want held by the host", got.State, got.Holders)
		}
	}
	pod := map[string][]use.Holder{vf: {{Device: vf, Namespace: "ns", Pod: "p", Evidence: use.EvidencePodResources}}}
	got := use.Judge(use.Evidence{Snapshot: carries, KubeletSeen: true, Kubelet: use.Kubelet{Answered: true, Held: pod}}).Of(vf)
	if use.Names(got.Holders) != "pod ns/p" {
		t.Errorf("held by %q, want the pod alone", use.Names(got.Holders))
	}
}

// Netlink that did not answer in full leaves it open whether the host uses a VF:
// such a VF is not free.
func TestHostUseNotKnownIsNotFree(t *testing.T) {
	s := snapshot("igbvf", inventory.Netdev{Name: "enp33s0v0"})
	s.HostUnknown = map[string]string{vf: "the kernel did not list all of the host's network (addresses: no buffer space available)"}
	for _, ev := range []use.Evidence{{Snapshot: s}, {Snapshot: s, KubeletSeen: true, Kubelet: use.Kubelet{Answered: true}}} {
		got := use.Judge(ev).Of(vf)
		if got.State != use.Unknown || !got.Busy() || !strings.Contains(use.Names(got.Holders), "addresses: no buffer space") {
			t.Errorf("%v by %q, want unknown and why", got.State, use.Names(got.Holders))
		}
	}
	pod := map[string][]use.Holder{vf: {{Device: vf, Namespace: "ns", Pod: "p", Evidence: use.EvidencePodResources}}}
	if got := use.Judge(use.Evidence{Snapshot: s, Kubelet: use.Kubelet{Answered: true, Held: pod}}).Of(vf); use.Names(got.Holders) != "pod ns/p" {
		t.Errorf("held by %q, want the pod", use.Names(got.Holders))
	}
}

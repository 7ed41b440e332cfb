package use_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// UIDs as the kubelet has them: of pods of the API server, and of a static pod.
const (
	podUID    = "6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f"
	otherUID  = "0c9be871-0f7a-4f3e-8a53-1d2c3b4a5968"
	staticUID = "b9fd1d0ed7b4f5c8a4d3c2b1a0f9e8d7"
)

var (
	web    = use.Pod{Namespace: "default", Name: "web-0"}
	proxy  = use.Pod{Namespace: "kube-system", Name: "kube-proxy-7xk2p"}
	static = use.Pod{Namespace: "kube-system", Name: "kube-apiserver-node1"}
)

// given is a checkpoint by which a container of the pod with the UID has the VF.
func given(uid string, names map[string]use.Pod) use.Checkpoint {
	return use.Checkpoint{Entries: []use.Entry{{PodUID: uid, Container: "init", Resource: "example.com/rdma", Devices: []string{vf}}}, Names: names}
}

func pods(all ...use.Pod) map[use.Pod]bool {
	out := map[use.Pod]bool{}
	for _, p := range all {
		out[p] = true
	}
	return out
}

func TestEntriesThatCount(t *testing.T) {
	named := map[string]use.Pod{podUID: web, otherUID: proxy, staticUID: static}
	unnamed := map[string]use.Pod{otherUID: proxy, staticUID: static}
	answers := func(listed ...use.Pod) use.Kubelet {
		return use.Kubelet{Answered: true, Listening: true, Since: t0, Pods: pods(listed...)}
	}
	late := t0.Add(use.Grace)
	cases := []struct {
		name string
		k    use.Kubelet
		cp   use.Checkpoint
		seen bool
		now  time.Time
		want string // the pod that has the VF, "?" for one without a name, "" for nobody
	}{
		{"no kubelet in this boot: the file is of the boot before", use.Kubelet{}, given(podUID, named), false, late, ""},
		{"a silent kubelet of this boot", use.Kubelet{}, given(podUID, named), true, late, "web-0"},
		{"a kubelet that hangs", use.Kubelet{Listening: true}, given(podUID, named), false, late, "web-0"},
		{"a kubelet that has just come up", answers(proxy), given(podUID, named), true, late.Add(-1), "web-0"},
		{"listed, for an init container", answers(web, proxy), given(podUID, named), true, late, "web-0"},
		{"ended, and still in the file", answers(proxy), given(podUID, named), true, late, ""},
		{"ended, and its logs are gone", answers(proxy), given(podUID, unnamed), true, late, ""},
		{"admitted, and no sandbox yet", answers(proxy, web), given(podUID, unnamed), true, late, "?"},
		{"a kubelet that knows static pods only", answers(static), given(podUID, named), true, late, "web-0"},
		{"a kubelet that knows no pods", answers(), given(podUID, named), true, late, "web-0"},
		{"a static pod", answers(static, proxy), given(staticUID, named), true, late, "kube-apiserver-node1"},
		{"no log directories", answers(proxy, web), given(podUID, nil), true, late, "?"},
		{"no file", answers(proxy), use.Checkpoint{}, true, late, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.k.Checkpoint = c.cp
			var got string
			for _, h := range c.k.Entries(c.seen, c.now)[vf] {
				if got = h.Pod; got == "" {
					got = "?"
				}
				if h.Device != vf || h.Resource != "example.com/rdma" || h.Container != "init" || h.Evidence != use.EvidenceCheckpoint {
					t.Errorf("%+v", h)
				}
			}
			if got != c.want {
				t.Errorf("held by %q, want %q", got, c.want)
			}
			if busy := use.Judge(use.Evidence{Snapshot: snapshot("vfio-pci"), Kubelet: c.k, KubeletSeen: c.seen, Now: c.now}).Of(vf).State == use.Held; busy != (c.want != "") {
				t.Errorf("held: %v, want by %q", busy, c.want)
			}
		})
	}
}

func TestHolderOfAnEntry(t *testing.T) {
	k := use.Kubelet{Listening: true, Checkpoint: given(podUID, nil)}
	got := use.Names(k.Entries(true, t0)[vf])
	if !strings.Contains(got, podUID) || !strings.Contains(got, "checkpoint") {
		t.Errorf("held by %q, want the UID", got)
	}
	k.Checkpoint.Names = map[string]use.Pod{podUID: web}
	if got := use.Names(k.Entries(true, t0)[vf]); got != "pod default/web-0" {
		t.Errorf("held by %q, want the pod", got)
	}
}

// An ordinary init container is never listed. Its pod is, and the kubelet's checkpoint
// says what it has, for hours and after a restart of the daemon.
func TestInitContainerIsNotForgotten(t *testing.T) {
	k := use.Kubelet{Answered: true, Since: t0, Pods: pods(web, proxy), Checkpoint: given(podUID, map[string]use.Pod{podUID: web, otherUID: proxy})}
	notes := []use.Note{{Device: vf, Resource: "example.com/rdma", At: t0}}
	now := t0
	for range 10 {
		now = now.Add(time.Minute)
		notes = use.Settle(notes, notes, k, now)
		if len(notes) != 1 {
			t.Fatalf("%s after the allocation the note is gone", now.Sub(t0))
		}
	}
	if use.Unlisted(notes, k.Entries(true, now), now) {
		t.Error("the kubelet is asked again every few seconds for as long as the pod lives")
	}
	ev := use.Evidence{Snapshot: snapshot("uio_pci_generic"), Kubelet: k, KubeletSeen: true, Now: now, Notes: notes}
	if got := use.Judge(ev).Of(vf); got.State != use.Held || use.Names(got.Holders) != "pod default/web-0" {
		t.Errorf("%v by %q, want held by the pod alone", got.State, use.Names(got.Holders))
	}
	ev.Notes = nil
	if got := use.Judge(ev).Of(vf); got.State != use.Held {
		t.Errorf("without the note: %v, want held", got.State)
	}
	k.Pods = pods(proxy) // it ended, and nothing has been allocated since
	if notes = use.Settle(notes, notes, k, now); len(notes) != 0 {
		t.Errorf("the pod ended, and its note stays: %+v", notes)
	}
	if got := use.Judge(use.Evidence{Snapshot: ev.Snapshot, Kubelet: k, KubeletSeen: true, Now: now, Notes: notes}).Of(vf); got.State != use.Free {
		t.Errorf("the pod ended: %v by %q, want free", got.State, use.Names(got.Holders))
	}
}

// The kubelet is asked again soon while it may yet list what it took, and not for as long
// as an init container's pod lives.
func TestUnlisted(t *testing.T) {
	entries := map[string][]use.Holder{vf: {{Device: vf, Resource: "example.com/a"}}}
	young, old := t0.Add(use.Grace-1), t0.Add(use.Grace)
	for name, c := range map[string]struct {
		note    use.Note
		entries map[string][]use.Holder
		now     time.Time
		want    bool
	}{
		"listed":                              {use.Note{Device: vf, At: t0, Listed: &t0}, nil, young, false},
		"not listed":                          {use.Note{Device: vf, At: t0}, nil, old, true},
		"young, and in the checkpoint":        {use.Note{Device: vf, At: t0}, entries, young, true},
		"old, and in the checkpoint":          {use.Note{Device: vf, At: t0}, entries, old, false},
		"there under another resource":        {use.Note{Device: vf, Resource: "example.com/b", At: t0}, entries, old, true},
		"another device is in the checkpoint": {use.Note{Device: "another", At: t0}, entries, old, true},
		"listed, and not in the checkpoint":   {use.Note{Device: "another", At: t0, Listed: &t0}, entries, old, false},
	} {
		if got := use.Unlisted([]use.Note{c.note}, c.entries, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A checkpoint that cannot be read says nothing of who has what: a note that was never
// listed stays, and so do the devices of the boot before until the kubelet had the time
// to have its pods again. All else goes on.
func TestUnreadableCheckpoint(t *testing.T) {
	broken := use.Checkpoint{Err: errors.New("of a kubelet to come")}
	k := use.Kubelet{Answered: true, Since: t0, Pods: pods(proxy), Checkpoint: broken}
	late := t0.Add(2 * use.Grace)
	never, once := use.Note{ID: 1, Device: vf, At: t0}, use.Note{ID: 2, Device: vf, At: t0, Listed: &t0}
	if d := cmp.Diff([]use.Note{never}, use.Settle([]use.Note{never, once}, []use.Note{never, once}, k, late)); d != "" {
		t.Errorf("the note that was never listed has to stay, and no other: %s", d)
	}
	for name, c := range map[string]struct {
		now   time.Time
		given []string
		want  use.State
	}{
		"given, and the kubelet is young": {t0, []string{vf}, use.Unknown},
		"given, and the kubelet is old":   {late, []string{vf}, use.Free},
		"never given":                     {t0, nil, use.Free},
	} {
		got := use.Judge(use.Evidence{Snapshot: snapshot("vfio-pci"), Kubelet: k, KubeletSeen: true, Now: c.now, Given: c.given}).Of(vf)
		if got.State != c.want || (c.want == use.Unknown) != strings.Contains(use.Names(got.Holders), "of a kubelet to come") {
			t.Errorf("%s: %v by %q, want %v", name, got.State, use.Names(got.Holders), c.want)
		}
	}
	k.Checkpoint.Err = nil
	if got := use.Judge(use.Evidence{Snapshot: snapshot("vfio-pci"), Kubelet: k, KubeletSeen: true, Now: t0, Given: []string{vf}}).Of(vf); got.State != use.Free {
		t.Errorf("a checkpoint without the device: %v, want free", got.State)
	}
}

// A kubelet that is there and does not answer is no early start: what it gave out
// without an Allocate nobody knows.
func TestKubeletThatDoesNotAnswer(t *testing.T) {
	home := inventory.Netdev{Name: "enp33s0v0"}
	got := use.Judge(use.Evidence{Snapshot: snapshot("igbvf", home), Kubelet: use.Kubelet{Listening: true, Err: "context deadline exceeded"}}).Of(vf)
	if got.State != use.Unknown || !strings.Contains(use.Names(got.Holders), "deadline") {
		t.Errorf("%v by %q, want unknown and why", got.State, use.Names(got.Holders))
	}
}

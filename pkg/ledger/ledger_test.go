package ledger_test

import (
	"cmp"
	"errors"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

const (
	pfID  = "0000:21:00.0"
	vf0   = "0000:21:02.0"
	vf1   = "0000:21:02.1"
	netA  = "example.com/a"
	netB  = "example.com/b"
	podID = "0b4c1f3e-7d1a-4f0e-9a51-1f1d9b8f0a11"
)

var (
	t0      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	waiting = pool.Reason{Cause: pool.CauseWaiting, Text: "a change is waiting for it"}
	changed = pool.Reason{Cause: pool.CauseUnfinished, Text: "is being changed"}
)

// machine has a PF with two VFs, of which the kernel shows nothing.
func machine() *inventory.Snapshot {
	pf := inventory.PF{Function: inventory.Function{Address: pfID, Class: "020000", Driver: "ice"}}
	for i, id := range []string{vf0, vf1} {
		pf.VFs = append(pf.VFs, inventory.VF{Index: i, Function: inventory.Function{
			Address: id, Class: "020000", Driver: "iavf", Netdevs: []inventory.Netdev{{Name: "v" + id[len(id)-1:]}},
		}})
	}
	return &inventory.Snapshot{PFs: []inventory.PF{pf}}
}

// pools is an assignment of healthy devices: resource name, devices, and so on.
func pools(list ...[]string) *pool.Assignment {
	out := &pool.Assignment{}
	for _, p := range list {
		next := pool.Pool{Resource: p[0]}
		for _, id := range p[1:] {
			next.Devices = append(next.Devices, pool.Device{ID: id, Healthy: true})
		}
		out.Pools = append(out.Pools, next)
	}
	return out
}

// held is a kubelet, up since t0, that lists pods with devices of a resource.
func held(resource string, ids ...string) use.Kubelet {
	k := use.Kubelet{Answered: true, Listening: true, Since: t0, ID: "1", Held: map[string][]use.Holder{}, Pods: map[use.Pod]bool{{Name: "p"}: true}}
	for _, id := range ids {
		k.Held[id] = []use.Holder{{Device: id, Pod: "p", Container: "c", Resource: resource, Evidence: use.EvidencePodResources}}
	}
	k.Checkpoint.Names = map[string]use.Pod{podID: {Name: "p"}}
	return k
}

func silent() use.Kubelet { return use.Kubelet{Listening: true, Err: "no answer"} }

// offered is a ledger that offers vf0 and vf1 as netA, and the kubelet answered.
func offered(t *testing.T) *ledger.Ledger {
	t.Helper()
	l := ledger.New("boot")
	pass(l, held(netA), pools([]string{netA, vf0, vf1}), nil, t0)
	return l
}

// pass is one of the loop's.
func pass(l *ledger.Ledger, k use.Kubelet, a *pool.Assignment, reasons map[string]pool.Reason, now time.Time) (ledger.Learned, ledger.Offered) {
	q := l.Ask()
	learned := l.Learn(q, ledger.Answer{Kubelet: k}, machine(), now)
	return learned, l.Offer(q, a, reasons)
}

func note(t *testing.T, l *ledger.Ledger, resource string, ids ...string) ledger.Allocation {
	t.Helper()
	a, err := l.Note(resource, ids, t0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func claim(t *testing.T, l *ledger.Ledger, ids ...string) ledger.Claim {
	t.Helper()
	c, _, err := l.Claim("a change of "+pfID, ids, changed)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refusal is why Note refuses vf0.
type refusal struct {
	prepare  func(t *testing.T, l *ledger.Ledger)
	resource string
	want     string
	device   string // that is named; vf0 when ""
}

func refusals() map[string]refusal {
	const notOffered = "it is not one of that resource's devices any more"
	sick := pools([]string{netA, vf0, vf1})
	sick.Pools[0].Devices[0].Healthy, sick.Pools[0].Devices[0].Reason = false, pool.Unusable("it has no driver")
	return map[string]refusal{
		"no offer yet": {func(*testing.T, *ledger.Ledger) {}, netA, notOffered, vf1},
		"no pools":     {func(_ *testing.T, l *ledger.Ledger) { l.Offer(l.Ask(), nil, nil) }, netA, notOffered, vf1},
		"a device of another name": {func(_ *testing.T, l *ledger.Ledger) {
			pass(l, silent(), pools([]string{netB, vf0}, []string{netA, vf1}), nil, t0)
		}, netA, notOffered, ""},
		"a device that left the pool": {func(_ *testing.T, l *ledger.Ledger) {
			pass(l, silent(), pools([]string{netA, vf0}), nil, t0)
			pass(l, silent(), pools([]string{netA, vf1}), nil, t0)
		}, netA, notOffered, ""},
		"unhealthy": {func(_ *testing.T, l *ledger.Ledger) { pass(l, silent(), sick, nil, t0) }, netA, "it has no driver", ""},
		"withdrawn": {func(_ *testing.T, l *ledger.Ledger) {
			pass(l, silent(), pools([]string{netA, vf0, vf1}), map[string]pool.Reason{vf0: waiting}, t0)
		}, netA, waiting.Text, ""},
		"claimed, whatever it is withdrawn for": {func(t *testing.T, l *ledger.Ledger) {
			pass(l, silent(), pools([]string{netA, vf0, vf1}), map[string]pool.Reason{vf0: waiting}, t0)
			claim(t, l, vf0)
		}, netA, changed.Text, ""},
		"listed under another name": {func(_ *testing.T, l *ledger.Ledger) {
			pass(l, held(netA, vf0), pools([]string{netB, vf0, vf1}), nil, t0)
		}, netB, "pod /p has it as " + netA, ""},
		"in the checkpoint under another name": {func(_ *testing.T, l *ledger.Ledger) {
			k := held(netA)
			k.Checkpoint.Entries = []use.Entry{{PodUID: podID, Container: "init", Resource: netA, Devices: []string{vf0}}}
			pass(l, k, pools([]string{netB, vf0, vf1}), nil, t0)
		}, netB, "pod /p has it as " + netA, ""},
		"noted under another name": {func(t *testing.T, l *ledger.Ledger) {
			pass(l, held(netA), pools([]string{netA, vf0, vf1}), nil, t0)
			note(t, l, netA, vf0)
			pass(l, silent(), pools([]string{netB, vf0, vf1}), nil, t0)
		}, netB, "it was allocated as " + netA + ", and the kubelet has not said that it is free", ""},
	}
}

// What Note refuses is refused whole, with who and why, and leaves no trace but that
// there is a kubelet.
func TestNoteRefuses(t *testing.T) {
	for name, c := range refusals() {
		t.Run(name, func(t *testing.T) {
			l := ledger.New("boot")
			c.prepare(t, l)
			before, _ := l.Books()
			_, err := l.Note(c.resource, []string{vf1, vf0}, t0)
			var refused *ledger.RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want a refusal", err)
			}
			want := ledger.RefusedError{Resource: c.resource, Device: cmp.Or(c.device, vf0), Reason: c.want}
			if *refused != want {
				t.Errorf("got %+v, want %+v", *refused, want)
			}
			if text := want.Device + " cannot be allocated as " + c.resource + ": " + c.want; err.Error() != text {
				t.Errorf("got %q, want %q", err, text)
			}
			before.KubeletSeen = true
			if after, _ := l.Books(); !gocmp.Equal(before, after) {
				t.Errorf("the books changed:\n%s", gocmp.Diff(before, after))
			}
		})
	}
}

// A reason without a text is one too.
func TestNoteRefusesWithoutText(t *testing.T) {
	sick := pools([]string{netA, vf0})
	sick.Pools[0].Devices[0].Healthy = false
	for name, prepare := range map[string]func(l *ledger.Ledger) error{
		"unhealthy": func(l *ledger.Ledger) error { l.Offer(l.Ask(), sick, nil); return nil },
		"withdrawn": func(l *ledger.Ledger) error {
			l.Offer(l.Ask(), pools([]string{netA, vf0}), map[string]pool.Reason{vf0: {}})
			return nil
		},
		"claimed": func(l *ledger.Ledger) error {
			_, _, err := l.Claim("a change", []string{vf0}, pool.Reason{})
			return err
		},
	} {
		l := offered(t)
		if err := prepare(l); err != nil {
			t.Fatal(err)
		}
		var refused *ledger.RefusedError
		if _, err := l.Note(netA, []string{vf0}, t0); !errors.As(err, &refused) || refused.Reason == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A device that is held under the resource's own name is the kubelet's to give: it knows
// when its pod has ended before we do.
func TestNoteUnderTheSameName(t *testing.T) {
	l := offered(t)
	note(t, l, netA, vf0)
	pass(l, held(netA, vf0), pools([]string{netA, vf0, vf1}), nil, t0)
	note(t, l, netA, vf0)
	if b, _ := l.Books(); len(b.Notes) != 2 {
		t.Errorf("%d notes, want 2", len(b.Notes))
	}
}

// Notes of versions that did not write the resource name, and holders whose name is not
// known, keep nobody out.
func TestNoteWithoutResource(t *testing.T) {
	l := ledger.New("boot")
	l.Recover(ledger.Books{BootID: "boot", Notes: []use.Note{{Device: vf0, At: t0}}}, false)
	pass(l, held("", vf0), pools([]string{netA, vf0}), nil, t0)
	note(t, l, netA, vf0)
}

// Release frees what it noted, and nothing else of the same device.
func TestRelease(t *testing.T) {
	l := offered(t)
	first := note(t, l, netA, vf0)
	second := note(t, l, netA, vf0, vf1)
	l.Release(second)
	if !l.Noted(vf0) || l.Noted(vf1) {
		t.Errorf("vf0 noted %t, vf1 noted %t, want true, false", l.Noted(vf0), l.Noted(vf1))
	}
	l.Release(first)
	if l.Noted(vf0) || l.Holds(vf0) {
		t.Error("it is held after its only note was released")
	}
	l.Release(first)
}

func TestClaimOfAnother(t *testing.T) {
	l := offered(t)
	claim(t, l, vf0)
	_, o, err := l.Claim("a reclaim", []string{vf1, vf0}, changed)
	var other *ledger.ClaimedError
	if !errors.As(err, &other) || *other != (ledger.ClaimedError{Device: vf0, By: "a change of " + pfID}) {
		t.Fatalf("got %v", err)
	}
	if want := vf0 + " is being changed for a change of " + pfID; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if o.Seq != 0 || o.Assignment != nil {
		t.Errorf("got an offer: %+v", o)
	}
	note(t, l, netA, vf1) // nothing was claimed
}

// A claim withdraws at once what the last offer has, with the claim's reason, and says so
// in the offer that it returns.
func TestClaimWithdraws(t *testing.T) {
	l := offered(t)
	_, o, err := l.Claim("a change", []string{vf0}, changed)
	if err != nil {
		t.Fatal(err)
	}
	want := []pool.Device{{ID: vf0, Reason: changed}, {ID: vf1, Healthy: true}}
	if d := gocmp.Diff(want, o.Assignment.Pools[0].Devices, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What was withdrawn before it was claimed keeps its reason.
func TestClaimKeepsTheReason(t *testing.T) {
	l := ledger.New("boot")
	waits := pool.Reason{Cause: pool.CauseWaiting, Text: "a change waits"}
	l.Offer(l.Ask(), pools([]string{netA, vf0}), map[string]pool.Reason{vf0: waits})
	_, o, err := l.Claim("a change", []string{vf0}, changed)
	if d := o.Assignment.Pools[0].Devices[0]; err != nil || d.Healthy || d.Reason != waits {
		t.Errorf("%+v, %v", d, err)
	}
}

// A claim before the first offer counts when that comes.
func TestClaimBeforeAnyOffer(t *testing.T) {
	l := ledger.New("boot")
	_, o, err := l.Claim("a change", []string{vf0}, changed)
	if err != nil || o.Assignment != nil {
		t.Fatalf("got %+v, %v", o, err)
	}
	pass(l, held(netA), pools([]string{netA, vf0}), nil, t0)
	if _, err := l.Note(netA, []string{vf0}, t0); err == nil {
		t.Error("a claimed device was noted")
	}
}

// The devices of a claim that has ended stay withdrawn until an offer that rests on a
// look that began after its end.
func TestEnd(t *testing.T) {
	l := offered(t)
	c := claim(t, l, vf0)
	before := l.Ask()
	l.End(c)
	l.Offer(before, pools([]string{netA, vf0}), nil)
	if _, err := l.Note(netA, []string{vf0}, t0); err == nil {
		t.Error("it was noted by an offer that rests on what was seen before the claim's end")
	}
	l.Offer(l.Ask(), pools([]string{netA, vf0}), nil)
	note(t, l, netA, vf0)
}

// An offer ends no claim under which something may still be written.
func TestOfferKeepsClaims(t *testing.T) {
	l := offered(t)
	claim(t, l, vf0)
	l.Offer(l.Ask(), pools([]string{netA, vf0}), nil)
	if _, err := l.Note(netA, []string{vf0}, t0); err == nil {
		t.Error("a claimed device was noted")
	}
}

// Another run may take over a claim that has ended. The end of the first one does not
// end the second, nor does it twice.
func TestTakeover(t *testing.T) {
	l := offered(t)
	first := claim(t, l, vf0, vf1)
	l.End(first)
	second := claim(t, l, vf0)
	l.End(first)
	l.Offer(l.Ask(), pools([]string{netA, vf0, vf1}), nil)
	if _, err := l.Note(netA, []string{vf0}, t0); err == nil {
		t.Error("a device was noted whose claim was taken over")
	}
	note(t, l, netA, vf1)
	l.End(second)
	l.Offer(l.Ask(), pools([]string{netA, vf0, vf1}), nil)
	note(t, l, netA, vf0)
}

// Seen reports news once, and a note is as good.
func TestSeen(t *testing.T) {
	l := ledger.New("boot")
	if !l.Seen() || l.Seen() {
		t.Error("want news once")
	}
	l = offered(t)
	if l.Seen() {
		t.Error("a kubelet that answered is no news")
	}
}

package ledger_test

import (
	"errors"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// again is another process of this boot, with the books of l.
func again(l *ledger.Ledger) *ledger.Ledger {
	out := ledger.New("boot")
	b, _ := l.Books()
	out.Recover(b, false)
	return out
}

// A kubelet that has answered an earlier process for long enough has its pods, and one
// that is another does not.
func TestKubeletOverARestartOfOurs(t *testing.T) {
	now := t0.Add(time.Hour)
	fresh := held(netA)
	fresh.Since = now // as a new process sees it
	another := fresh
	another.ID = "2"
	nameless := fresh
	nameless.ID = ""
	for name, c := range map[string]struct {
		kubelet use.Kubelet
		warm    bool
	}{
		"the same":     {fresh, true},
		"another":      {another, false},
		"not known":    {nameless, false},
		"none answers": {silent(), false},
	} {
		l := again(offered(t))
		if learned := l.Learn(l.Ask(), ledger.Answer{Kubelet: c.kubelet}, machine(), now); learned.Warm != c.warm {
			t.Errorf("%s: warm %t, want %t", name, learned.Warm, c.warm)
		}
	}
	l := again(offered(t))
	l.Learn(l.Ask(), ledger.Answer{Kubelet: another}, machine(), now)
	b, _ := l.Books()
	if d := gocmp.Diff(&ledger.Kubelet{ID: "2", Since: now}, b.Kubelet, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("the books (-want +got):\n%s", d)
	}
}

// Entries of ended pods stay in the kubelet's checkpoint. One counts no more when this
// same kubelet has listed its pod and does not list it any more: also when it has just
// come up, when it lists no pod of the API server, when the pod's log directory is gone
// too, and when our process is another one by now. Another kubelet may not have the pod
// back yet.
func TestEntryOfAPodThatWasListed(t *testing.T) {
	const uid = "6f2d3a1e-58c7-4b0c-9d5e-0a1b2c3d4e5f"
	pod := use.Pod{Namespace: "default", Name: "demo"}
	answer := func(id string, listed, logs bool) use.Kubelet {
		k := use.Kubelet{Answered: true, ID: id, Since: t0, Pods: map[use.Pod]bool{}}
		k.Checkpoint.Entries = []use.Entry{{PodUID: uid, Container: "c", Resource: netA, Devices: []string{vf0}}}
		if listed {
			k.Pods[pod] = true
		}
		if logs {
			k.Checkpoint.Names = map[string]use.Pod{uid: pod}
		}
		return k
	}
	for name, c := range map[string]struct {
		before, now use.Kubelet
		restart     bool
		held        bool
	}{
		"never listed":                {answer("1", false, true), answer("1", false, true), false, true},
		"listed":                      {answer("1", true, true), answer("1", true, true), false, true},
		"not any more":                {answer("1", true, true), answer("1", false, true), false, false},
		"nor is its log":              {answer("1", true, true), answer("1", false, false), false, false},
		"over a restart of ours":      {answer("1", true, true), answer("1", false, false), true, false},
		"another kubelet":             {answer("1", true, true), answer("2", false, true), false, true},
		"a kubelet that is not known": {answer("", true, true), answer("", false, true), false, true},
	} {
		l := offered(t)
		l.Learn(l.Ask(), ledger.Answer{Kubelet: c.before}, machine(), t0)
		if c.restart {
			l = again(l)
		}
		for range 2 {
			learned := l.Learn(l.Ask(), ledger.Answer{Kubelet: c.now}, machine(), t0)
			if busy := learned.Use.Of(vf0).Busy(); busy != c.held {
				t.Errorf("%s: in use %t, want %t", name, busy, c.held)
			}
		}
	}
}

// An answer that comes late replaces none to a later question.
func TestLateAnswer(t *testing.T) {
	l := ledger.New("boot")
	early, late := l.Ask(), l.Ask()
	l.Learn(late, ledger.Answer{Kubelet: held(netA, vf0)}, machine(), t0)
	l.Learn(early, ledger.Answer{Kubelet: held(netA)}, machine(), t0)
	if !l.Holds(vf0) {
		t.Error("an older answer replaced a newer one")
	}
	l.Learn(l.Ask(), ledger.Answer{Kubelet: silent()}, machine(), t0)
	if !l.Holds(vf0) {
		t.Error("a kubelet that is silent took a device from its pod")
	}
	l.Learn(l.Ask(), ledger.Answer{Kubelet: held(netA)}, machine(), t0)
	if l.Holds(vf0) {
		t.Error("a device is held that the kubelet does not list any more")
	}
}

// An answer says nothing of a note that was made after the question.
func TestAnswerOfBeforeTheNote(t *testing.T) {
	l := offered(t)
	q := l.Ask()
	note(t, l, netA, vf0)
	learned := l.Learn(q, ledger.Answer{Kubelet: held(netA)}, machine(), t0.Add(time.Hour))
	if !l.Noted(vf0) || !learned.Held[vf0] || !learned.Use.Of(vf0).Busy() || !learned.Unconfirmed {
		t.Errorf("noted %t, and learned %+v", l.Noted(vf0), learned)
	}
}

// A note goes when its pod was listed and is not any more, or was not listed in time, and
// until then the kubelet is to be asked again.
func TestNoteSettles(t *testing.T) {
	for name, c := range map[string]struct {
		answers     []use.Kubelet
		at          time.Duration // of the last one
		held        bool
		unconfirmed bool
	}{
		"listed":                      {[]use.Kubelet{held(netA, vf0)}, time.Second, true, false},
		"listed, and not any more":    {[]use.Kubelet{held(netA, vf0), held(netA)}, time.Second, false, false},
		"listed under another name":   {[]use.Kubelet{held(netB, vf0)}, time.Second, true, true},
		"not listed yet":              {[]use.Kubelet{held(netA)}, use.Grace - 1, true, true},
		"not listed in time":          {[]use.Kubelet{held(netA)}, use.Grace, false, false},
		"listed, and then no answer":  {[]use.Kubelet{held(netA, vf0), silent()}, time.Hour, true, false},
		"not listed, and no answer":   {[]use.Kubelet{silent()}, time.Hour, true, true},
		"another device is listed":    {[]use.Kubelet{held(netA, vf1)}, use.Grace - 1, true, true},
		"the device of another entry": {[]use.Kubelet{held(netA, vf1), held(netA, vf1)}, use.Grace, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := offered(t)
			if _, err := l.Note(netA, []string{vf0}, t0); err != nil {
				t.Fatal(err)
			}
			var learned ledger.Learned
			for i, k := range c.answers {
				now := t0
				if i == len(c.answers)-1 {
					now = t0.Add(c.at)
				}
				learned = l.Learn(l.Ask(), ledger.Answer{Kubelet: k}, machine(), now)
			}
			if learned.Held[vf0] != c.held || l.Holds(vf0) != c.held || learned.Unconfirmed != c.unconfirmed {
				t.Errorf("held %t and %t, unconfirmed %t, want %t, %t", learned.Held[vf0], l.Holds(vf0), learned.Unconfirmed, c.held, c.unconfirmed)
			}
		})
	}
}

// A PF that no pool has waits for no kubelet that restarts. One that a pool had, also
// earlier in this boot, does, and so does any before it is known what is offered.
func TestOfferedPF(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(l *ledger.Ledger)
		want    use.State
	}{
		"no offer yet":    {func(*ledger.Ledger) {}, use.Unknown},
		"never offered":   {func(l *ledger.Ledger) { l.Offer(l.Ask(), pools([]string{netA, vf0}), nil) }, use.Free},
		"offers nothing":  {func(l *ledger.Ledger) { l.Offer(l.Ask(), nil, nil) }, use.Free},
		"offered":         {func(l *ledger.Ledger) { l.Offer(l.Ask(), pools([]string{netB, pfID}), nil) }, use.Unknown},
		"offered earlier": {func(l *ledger.Ledger) { l.Offer(l.Ask(), pools([]string{netB, pfID}), nil); l.Offer(l.Ask(), nil, nil) }, use.Unknown},
		"given before": {func(l *ledger.Ledger) {
			l.Recover(ledger.Books{BootID: "another boot", Given: []string{pfID}}, false)
			l.Offer(l.Ask(), nil, nil)
		}, use.Unknown},
	} {
		l := ledger.New("boot")
		c.prepare(l)
		if got := l.Learn(l.Ask(), ledger.Answer{Kubelet: silent()}, machine(), t0).Use.Of(pfID).State; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Given are the devices of ours that pods have, and those of before until a kubelet has
// had the time to give its pods theirs.
func TestGiven(t *testing.T) {
	l := ledger.New("boot")
	l.Recover(ledger.Books{BootID: "another boot", Given: []string{vf1}, Notes: []use.Note{{Device: "0000:21:02.7"}}}, false)
	given := func() []string { b, _ := l.Books(); return b.Given }
	k := held(netA, vf0, "0000:99:00.0") // which is another plugin's
	for _, c := range []struct {
		now  time.Time
		want []string
	}{
		{t0, []string{vf1, "0000:21:02.7"}}, // before the first offer nothing is known to be ours
		{t0.Add(time.Second), []string{vf0, vf1, "0000:21:02.7"}},
		{t0.Add(use.Grace), []string{vf0}},
	} {
		pass(l, k, pools([]string{netA, vf0, vf1}), nil, c.now)
		if d := gocmp.Diff(c.want, given()); d != "" {
			t.Errorf("%s: (-want +got):\n%s", c.now, d)
		}
	}
	if _, o := pass(l, k, nil, nil, t0.Add(use.Grace)); !gocmp.Equal(o.Given, []string{}) && len(o.Given) > 0 && o.Given[0] != vf0 {
		t.Errorf("the offer has %v", o.Given)
	}
}

// Books of another boot leave only what was given, and those that are unknown that there
// may be a kubelet.
func TestRecover(t *testing.T) {
	old := ledger.Books{
		KubeletSeen: true, Notes: []use.Note{{ID: 7, Device: vf0, Resource: netA, At: t0}}, Given: []string{vf1}, Kubelet: &ledger.Kubelet{ID: "1", Since: t0},
	}
	this, other := old, old
	this.BootID, other.BootID = "boot", "another boot"
	for name, c := range map[string]struct {
		old     ledger.Books
		unknown bool
		want    ledger.Books
	}{
		"this boot":    {this, false, ledger.Books{BootID: "boot", KubeletSeen: true, Notes: old.Notes, Given: []string{vf0, vf1}, Kubelet: old.Kubelet}},
		"another boot": {other, false, ledger.Books{BootID: "boot", Given: []string{vf0, vf1}}},
		"none":         {ledger.Books{}, false, ledger.Books{BootID: "boot"}},
		"unknown":      {ledger.Books{}, true, ledger.Books{BootID: "boot", KubeletSeen: true}},
	} {
		l := ledger.New("boot")
		l.Recover(c.old, c.unknown)
		if got, _ := l.Books(); !gocmp.Equal(c.want, got) {
			t.Errorf("%s: (-want +got):\n%s", name, gocmp.Diff(c.want, got))
		}
	}
}

// What is released is what was noted: a note of an earlier process, whose books come
// later than the allocation, stays.
func TestReleaseKeepsRecovered(t *testing.T) {
	l := offered(t)
	a := note(t, l, netA, vf0)
	l.Recover(ledger.Books{BootID: "boot", Notes: []use.Note{{ID: uint64(a), Device: vf1, Resource: netA, At: t0.Add(-time.Minute)}}}, false)
	l.Release(a)
	if l.Noted(vf0) || !l.Noted(vf1) {
		t.Errorf("vf0 noted %t, vf1 noted %t, want false, true", l.Noted(vf0), l.Noted(vf1))
	}
}

// What an earlier process gave under another name is not given by this one, whichever
// books come first.
func TestRecoverBehindANote(t *testing.T) {
	l := ledger.New("boot")
	pass(l, silent(), pools([]string{netB, vf0}), nil, t0)
	note(t, l, netB, vf0)
	l.Recover(ledger.Books{BootID: "boot", Notes: []use.Note{{ID: 1, Device: vf0, Resource: netA, At: t0.Add(-time.Minute)}}}, false)
	b, _ := l.Books()
	if len(b.Notes) != 2 {
		t.Errorf("the books have %d notes, want the earlier process's too: %+v", len(b.Notes), b.Notes)
	}
}

// With books that cannot be read, nothing is given out until the kubelet has said who has
// what: a pod may have it under another name.
func TestUnreadableBooks(t *testing.T) {
	unread := silent()
	unread.Checkpoint.Err = errors.New("cannot be read")
	cold := held(netA)
	cold.Checkpoint = unread.Checkpoint
	warm := cold
	warm.Since = t0.Add(-use.Grace)
	for name, c := range map[string]struct {
		kubelet use.Kubelet
		given   bool
	}{
		"silent, and no checkpoint":       {unread, false},
		"just started, and no checkpoint": {cold, false},
		"answers, and no checkpoint":      {warm, true},
		"silent, with its checkpoint":     {silent(), true},
	} {
		l := ledger.New("boot")
		l.Recover(ledger.Books{}, true)
		pass(l, c.kubelet, pools([]string{netB, vf0}), nil, t0)
		if _, err := l.Note(netB, []string{vf0}, t0); (err == nil) != c.given {
			t.Errorf("%s: %v", name, err)
		}
	}
}

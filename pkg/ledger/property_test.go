package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/ledger"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// drawn is a random run through the doors, with what is known of it from outside.
type drawn struct {
	l   *ledger.Ledger
	now time.Time

	pools       *pool.Assignment
	reasons     map[string]pool.Reason
	claims      map[ledger.Claim][]string // that have not ended
	kept        map[string]bool           // by claims, until the next offer that is late enough
	endedAfter  map[string]int            // how many questions there were when the device's claim ended
	questions   []ledger.Question
	allocations map[ledger.Allocation][]use.Note
	seq         uint64
	handed      []handed
	recovered   bool // which is kept on the disk again whatever came of it
}

// handed is what was handed out, and a copy of it.
type handed struct {
	what string
	have func() string
	was  string
}

// hand remembers how what was handed out looks.
func (d *drawn) hand(what string, v any) {
	have := func() string { return text(v) }
	d.handed = append(d.handed, handed{what, have, have()})
}

// text is all of a value, with what it points to.
func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func newDrawn() *drawn {
	return &drawn{
		l: ledger.New("boot"), now: t0, claims: map[ledger.Claim][]string{}, kept: map[string]bool{},
		endedAfter: map[string]int{}, allocations: map[ledger.Allocation][]use.Note{},
	}
}

func drawIDs() *rapid.Generator[[]string] {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{vf0, vf1, pfID}), 1, 3, rapid.ID)
}

func drawName() *rapid.Generator[string] { return rapid.SampledFrom([]string{netA, netB}) }

func (d *drawn) notes() []use.Note {
	b, _ := d.l.Books()
	return b.Notes
}

func (d *drawn) ask(*rapid.T) {
	q := d.l.Ask()
	d.questions = append(d.questions, q)
}

// offer rests on any of the questions.
func (d *drawn) offer(t *rapid.T) {
	d.ask(t)
	at := rapid.IntRange(0, len(d.questions)-1).Draw(t, "question")
	a := &pool.Assignment{Pools: []pool.Pool{{Resource: netA}, {Resource: netB}}}
	for _, id := range []string{vf0, vf1, pfID} {
		if i := rapid.IntRange(0, 2).Draw(t, "pool of "+id); i < 2 {
			a.Pools[i].Devices = append(a.Pools[i].Devices, pool.Device{ID: id, Healthy: rapid.IntRange(0, 4).Draw(t, "healthy") > 0})
		}
	}
	d.reasons = map[string]pool.Reason{}
	if rapid.IntRange(0, 3).Draw(t, "withdraws") == 0 {
		d.reasons[vf0] = waiting
	}
	d.pools = a
	for id, after := range d.endedAfter {
		if at >= after {
			delete(d.kept, id)
			delete(d.endedAfter, id)
		}
	}
	d.took(t, d.l.Offer(d.questions[at], a, d.reasons))
	d.hand("pools", a)
	d.hand("reasons", d.reasons)
}

// took checks an offer.
func (d *drawn) took(t *rapid.T, o ledger.Offered) {
	if o.Seq <= d.seq {
		t.Fatalf("offer %d came after %d", o.Seq, d.seq)
	}
	d.seq = o.Seq
	d.hand("an offer", o)
	if o.Assignment == nil {
		return
	}
	for _, p := range o.Assignment.Pools {
		for _, dev := range p.Devices {
			if dev.Healthy && d.kept[dev.ID] {
				t.Fatalf("%s is offered while it is claimed", dev.ID)
			}
		}
	}
}

func (d *drawn) claim(t *rapid.T) {
	ids := drawIDs().Draw(t, "devices")
	var busy bool
	for _, mine := range d.claims {
		busy = busy || slices.ContainsFunc(mine, func(id string) bool { return slices.Contains(ids, id) })
	}
	c, o, err := d.l.Claim("a test", ids, changed)
	var claimed *ledger.ClaimedError
	if busy != errors.As(err, &claimed) {
		t.Fatalf("a claim of %v: %v", ids, err)
	}
	if err != nil {
		return
	}
	d.claims[c] = ids
	for _, id := range ids {
		d.kept[id] = true
		delete(d.endedAfter, id)
	}
	d.took(t, o)
}

func (d *drawn) end(t *rapid.T) {
	if len(d.claims) == 0 {
		return
	}
	list := make([]ledger.Claim, 0, len(d.claims))
	for c := range d.claims {
		list = append(list, c)
	}
	slices.Sort(list)
	c := rapid.SampledFrom(list).Draw(t, "claim")
	d.l.End(c)
	for _, id := range d.claims[c] {
		d.endedAfter[id] = len(d.questions)
	}
	delete(d.claims, c)
}

func (d *drawn) note(t *rapid.T) {
	name, ids := drawName().Draw(t, "resource"), drawIDs().Draw(t, "devices")
	before := d.notes()
	a, err := d.l.Note(name, ids, d.now)
	after := d.notes()
	if err != nil {
		if !gocmp.Equal(before, after) {
			t.Fatal("a refusal left notes")
		}
		return
	}
	for _, id := range ids {
		p := d.pools.Pool(name)
		at := -1
		if p != nil {
			at = slices.IndexFunc(p.Devices, func(dev pool.Device) bool { return dev.ID == id })
		}
		_, withdrawn := d.reasons[id]
		if at < 0 || !p.Devices[at].Healthy || withdrawn || d.kept[id] {
			t.Fatalf("%s was noted as %s, which is not given out", id, name)
		}
		for _, n := range before {
			if n.Device == id && n.Resource != name {
				t.Fatalf("%s was noted as %s, and is noted as %s", id, name, n.Resource)
			}
		}
	}
	d.allocations[a] = after[len(before):]
	if len(after) != len(before)+len(ids) {
		t.Fatalf("%d notes became %d by %d devices", len(before), len(after), len(ids))
	}
}

func (d *drawn) release(t *rapid.T) {
	list := []ledger.Allocation{1 << 60} // which is none
	for a := range d.allocations {
		list = append(list, a)
	}
	slices.Sort(list)
	a := rapid.SampledFrom(list).Draw(t, "allocation")
	mine := d.allocations[a]
	want := slices.DeleteFunc(d.notes(), func(n use.Note) bool {
		return slices.ContainsFunc(mine, func(m use.Note) bool { return m.ID == n.ID && m.Device == n.Device && m.At.Equal(n.At) })
	})
	d.l.Release(a)
	delete(d.allocations, a)
	if got := d.notes(); len(got) != len(want) || len(want) > 0 && !gocmp.Equal(want, got) {
		t.Fatalf("a release: (-want +got):\n%s", gocmp.Diff(want, got))
	}
}

// learn takes in any answer to any of the questions.
func (d *drawn) learn(t *rapid.T) {
	d.ask(t)
	q := rapid.SampledFrom(d.questions).Draw(t, "question")
	k := silent()
	if rapid.IntRange(0, 3).Draw(t, "answers") > 0 {
		k = held(drawName().Draw(t, "held as"), drawIDs().Draw(t, "held")...)
		k.ID = rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "kubelet")
		k.Since = t0.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "since")) * time.Second)
	}
	answer := ledger.Answer{Kubelet: k}
	learned := d.l.Learn(q, answer, machine(), d.now)
	d.hand("learned", learned)
	d.hand("an answer", answer.Kubelet.Held)
	for _, n := range d.notes() {
		if !learned.Held[n.Device] || !d.l.Holds(n.Device) {
			t.Fatalf("%s is noted and not held", n.Device)
		}
	}
}

// recover is another process's books, which may come at any time.
func (d *drawn) recover(t *rapid.T) {
	old := ledger.Books{BootID: rapid.SampledFrom([]string{"boot", "another boot"}).Draw(t, "boot")}
	for _, id := range drawIDs().Draw(t, "noted before") {
		old.Notes = append(old.Notes, use.Note{
			ID: rapid.Uint64Range(0, 20).Draw(t, "id"), Device: id, Resource: drawName().Draw(t, "as"),
			At: t0.Add(-time.Duration(rapid.IntRange(1, 300).Draw(t, "ago")) * time.Second),
		})
	}
	before := d.notes()
	d.recovered = true
	d.l.Recover(old, rapid.Bool().Draw(t, "unknown"))
	after := d.notes()
	for _, n := range before {
		if !slices.ContainsFunc(after, n.Equal) {
			t.Fatalf("books of before took the note %+v away", n)
		}
	}
	if old.BootID == "boot" {
		for _, n := range old.Notes {
			if !slices.ContainsFunc(after, func(o use.Note) bool { return o.Device == n.Device && o.At.Equal(n.At) }) {
				t.Fatalf("the note %+v of the books is lost", n)
			}
		}
	}
	d.hand("books of before", old)
}

// restart gives the books to another process, which must refuse what this one does for
// what pods have.
func (d *drawn) restart(t *rapid.T) {
	b, revision := d.l.Books()
	next := ledger.New("boot")
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var read ledger.Books
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	next.Recover(read, false)
	if again, _ := next.Books(); text(again) != string(data) && !sameGiven(b, again) {
		t.Fatalf("(-want +got):\n%s", gocmp.Diff(b, again))
	}
	next.Offer(next.Ask(), d.pools, nil)
	for _, id := range []string{vf0, vf1, pfID} {
		if d.l.Noted(id) != next.Noted(id) {
			t.Fatalf("%s: noted %t, and by the next process %t", id, d.l.Noted(id), next.Noted(id))
		}
		for _, name := range []string{netA, netB} {
			elsewhere := slices.ContainsFunc(b.Notes, func(n use.Note) bool { return n.Device == id && n.Resource != name })
			if _, err := next.Note(name, []string{id}, d.now); elsewhere && err == nil {
				t.Fatalf("%s is noted elsewhere, and the next process gives it as %s", id, name)
			} else if err == nil {
				next = ledger.New("boot")
				next.Recover(read, false)
				next.Offer(next.Ask(), d.pools, nil)
			}
		}
	}
	if _, now := d.l.Books(); now != revision {
		t.Fatal("what another process does changed the revision")
	}
}

// sameGiven: a recovery adds what is noted to what was given, and nothing else.
func sameGiven(was, now ledger.Books) bool {
	for _, n := range was.Notes {
		was.Given = append(was.Given, n.Device)
	}
	slices.Sort(was.Given)
	was.Given, now.Given = nil, slices.Compact(was.Given)
	was.Given, now.Given = now.Given, nil
	return fmt.Sprint(text(was.Notes), was.KubeletSeen) == fmt.Sprint(text(now.Notes), now.KubeletSeen)
}

// Whatever happens in whatever order, nothing is given out that must not be, and what was
// handed out stays as it was.
func TestDoors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDrawn()
		b, revision := d.l.Books()
		d.hand("books", b)
		// Each door is a step by itself, so that the revision can be checked after it.
		step := func(do func(*rapid.T)) func(*rapid.T) {
			return func(t *rapid.T) {
				before := text(b)
				do(t)
				d.now = d.now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 150}).Draw(t, "seconds")) * time.Second)
				next, r := d.l.Books()
				if changes := text(next) != before; r < revision || changes && r == revision || !changes && r > revision && !d.recovered {
					t.Fatalf("revision %d, and before %d, of %s, before %s", r, revision, text(next), before)
				}
				d.recovered = false
				b, revision = next, r
				d.hand("books", b)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"ask": step(d.ask), "offer": step(d.offer), "claim": step(d.claim), "end": step(d.end),
			"note": step(d.note), "release": step(d.release), "learn": step(d.learn),
			"recover": step(d.recover), "restart": step(d.restart), "seen": step(func(*rapid.T) { d.l.Seen() }),
		})
		for _, h := range d.handed {
			if now := h.have(); now != h.was {
				t.Fatalf("%s changed after it was handed out:\n%s\n%s", h.what, h.was, now)
			}
		}
	})
}

// The doors may be called from anywhere at once: with -race.
func TestDoorsAtOnce(t *testing.T) {
	const each = 200
	l := offered(t)
	a := pools([]string{netA, vf0, vf1})
	var wg sync.WaitGroup
	for _, do := range []func(){
		func() { pass(l, held(netA, vf0), a, nil, t0) },
		func() {
			if c, _, err := l.Claim("a change", []string{vf0}, changed); err == nil {
				l.End(c)
			}
		},
		func() {
			if n, err := l.Note(netA, []string{vf0, vf1}, t0); err == nil {
				l.Release(n)
			}
		},
		func() {
			b, _ := l.Books()
			l.Recover(b, false)
			l.Seen()
		},
		func() { l.Holds(vf0); l.Noted(vf1); l.Learn(l.Ask(), ledger.Answer{Kubelet: silent()}, machine(), t0) },
	} {
		wg.Go(func() {
			for range each {
				do()
			}
		})
	}
	wg.Wait()
	pass(l, held(netA), a, nil, t0.Add(time.Hour))
	if l.Holds(vf0) || l.Holds(vf1) {
		t.Error("a device is held that nobody has")
	}
}

package ledger

import "testing"

// faults are ways to break the protocol, and within which bounds each shows.
var faults = []struct {
	name string
	long bool // left out with -short and with -race
	bounds
}{
	{"a worker asks who has a device before it claims it", false, bounds{writers: []int{0}, pods: 1, changes: 2, broken: asksFirst}},
	{"Allocate does not note", false, bounds{writers: []int{0}, pods: 1, changes: 2, broken: noNote}},
	{"a worker does not look who has a device", false, bounds{writers: []int{0}, pods: 1, changes: 1, broken: neverJudges}},
	{"a claim ends before the kernel has answered the write", false, bounds{writers: []int{0}, pods: 1, changes: 2, broken: endsEarly}},
	{"a claim never ends", false, bounds{writers: []int{0}, pods: 1, changes: 1, broken: neverEnds}},
	{"an offer ends claims whatever it rests on", false, bounds{writers: []int{0}, pods: 1, changes: 2, broken: endsAnyClaim}},
	{"an answer settles notes that are younger than the question", false, bounds{writers: []int{0}, pods: 2, changes: 1, broken: settlesYounger}},
	{"an allocation that was given is released", false, bounds{writers: []int{0}, pods: 1, changes: 1, broken: releasesGiven}},
	{"the kubelet is answered before the note is on the disk", false, bounds{writers: []int{0}, pods: 1, changes: 1, crashes: 1, broken: notKept}},
	{"books that cannot be read count as empty", true, bounds{writers: []int{0}, pods: 1, changes: 1, crashes: 1, lost: true, restarts: 1, broken: lostIsEmpty}},
	{"a kubelet that has just come up is believed", true, bounds{writers: []int{0}, pods: 1, changes: 1, restarts: 1, noFile: true, broken: alwaysWarm}},
	{"a daemon starts while the kernel still writes for the one before", false, bounds{writers: []int{0}, pods: 1, changes: 2, crashes: 1, broken: noLock}},
	{"the ledger forgets a claim", false, bounds{writers: []int{0}, pods: 1, changes: 2, broken: forgetsClaims}},
	{"the ledger forgets as what a device was given", false, bounds{names: 2, pods: 2, broken: forgetsNames}},
	{"the ledger gives out devices when nothing says who has them", true, bounds{names: 2, pods: 2, crashes: 1, lost: true, silence: true, noFile: true, broken: givesBlind}},
	{"an answer is judged by when it is handed on", false, bounds{writers: []int{0}, pods: 1, changes: 1, stalls: true, broken: stalled}},
}

// Each way to break the protocol is noticed: what the explorer does not find is not there.
func TestExploreFindsFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			if f.long && (testing.Short() || raced) {
				t.Skip("too many states")
			}
			t.Parallel()
			f.devices, f.names = 1, max(f.names, 1)
			got := explore(f.bounds)
			if got.violation == "" {
				t.Fatalf("nothing was found in %d states", got.states)
			}
			t.Logf("%s: found in %d states: %s", f.name, got.states, got)
		})
	}
}

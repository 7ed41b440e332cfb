package agent

import (
	"fmt"
	"testing"
)

// What has pods' names in its key has no end on a node that runs for long.
func TestOnceIsBounded(t *testing.T) {
	var o once
	calls := 0
	count := func() { calls++ }
	for i := range 10 * mostOnce {
		o.do("stays", "x", count)
		o.do(fmt.Sprintf("pod-%d", i), "x", count)
		if len(o.keys) > mostOnce {
			t.Fatalf("%d keys are kept after %d", len(o.keys), i+1)
		}
	}
	if want := 10*mostOnce + 1; calls != want {
		t.Errorf("%d calls, want %d: one for each new key and one for the key that is in use all the time", calls, want)
	}
	o.do("stays", "y", count)
	if want := 10*mostOnce + 2; calls != want {
		t.Error("a new value is not a change")
	}
}

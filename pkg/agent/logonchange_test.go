package agent

import (
	"fmt"
	"testing"
)

// What has pods' names in its key has no end on a node that runs for long.
func TestLogOnChangeIsBounded(t *testing.T) {
	t.Parallel()
	var o logOnChange
	calls := 0
	count := func() { calls++ }
	for i := range 10 * mostLogged {
		o.do("stays", "x", count)
		o.do(fmt.Sprintf("pod-%d", i), "x", count)
		if len(o.keys) > mostLogged {
			t.Fatalf("%d keys are kept after %d", len(o.keys), i+1)
		}
	}
	if want := 10*mostLogged + 1; calls != want {
		t.Errorf("%d calls, want %d: one for each new key and one for the key that is in use all the time", calls, want)
	}
	o.do("stays", "y", count)
	if want := 10*mostLogged + 2; calls != want {
		t.Error("a new value is not a change")
	}
}

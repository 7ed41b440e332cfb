package agent

import (
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/decide"
)

// Events after a quiet time are waited for as short as ever; when they do not
// end, passes that take long are as far apart as they are long.
func TestPause(t *testing.T) {
	t.Parallel()
	const settle = 10 * time.Millisecond
	a := &Agent{opts: Options{Settle: settle}}
	now := time.Now()
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, tt := range []struct {
		what        string
		took, since time.Duration
		writing     bool
		want        time.Duration
	}{
		{"nothing before", 0, 0, false, settle},
		{"after a quiet time", ms(80), time.Second, false, settle},
		{"a short pass right before", ms(3), 0, false, settle},
		{"a long pass right before", ms(80), 0, false, ms(80)},
		{"a long pass some time before", ms(80), ms(30), false, ms(50)},
		{"a pass that waited for the kubelet", 5 * time.Second, 0, false, longestPause},
		{"while VFs are made", ms(3), 0, true, 5 * settle},
		{"while VFs are made, slowly", ms(120), 0, true, ms(120)},
	} {
		l := &loop{agent: a, configs: configs{newest: &decide.Document{}}, took: tt.took, finished: now.Add(-tt.since)}
		if tt.writing {
			l.memory.PFs = map[string]decide.PF{"0000:21:00.0": {Phase: decide.Running}}
		}
		if got := l.pause(now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatchdogIsHealthy while passes end, and come often enough.
func TestWatchdogIsHealthy(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		stall time.Duration
		ended bool // or else it is under way
		after time.Duration
		want  string // "" for healthy
	}{
		"it has just begun":       {stall: time.Minute, want: ""},
		"it takes its time":       {stall: time.Minute, after: 30 * time.Second},
		"it takes too long":       {stall: time.Minute, after: 31 * time.Second, want: "has not ended for 31s"},
		"longer than it may":      {stall: 5 * time.Second, after: 6 * time.Second, want: "has not ended for 6s"},
		"it has ended":            {stall: time.Minute, ended: true},
		"the next one is not due": {stall: time.Minute, ended: true, after: 10 * time.Minute},
		"the next one is overdue": {stall: time.Minute, ended: true, after: 11 * time.Minute, want: "was 11m0s ago"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatchdog(c.stall, 10*time.Minute)
			w.begin(start)
			if c.ended {
				w.end(start)
			} else {
				defer w.end(start)
			}
			err := w.healthy(start.Add(c.after))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("healthy: %v, want %q", err, c.want)
			}
		})
	}
	if err := newWatchdog(time.Minute, time.Minute).healthy(start); err != nil {
		t.Errorf("before the first pass: %v", err)
	}
}

// TestWatchdogBarks once when a pass does not end, with what every goroutine does; and
// never while passes end, however many there are.
func TestWatchdogBarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchdog(time.Minute, time.Hour)
		for range 10 {
			w.begin(time.Now())
			<-time.After(59 * time.Second)
			w.end(time.Now())
			<-time.After(59 * time.Second)
		}
		select {
		case err := <-w.barked:
			t.Fatalf("a loop that goes round is %v", err)
		default:
		}
		began := time.Now()
		w.begin(began)
		var stalled *StalledError
		if err := <-w.barked; !errors.As(err, &stalled) || stalled.After != time.Minute {
			t.Errorf("got %v", err)
		}
		if got := time.Since(began); got != time.Minute {
			t.Errorf("after %s", got)
		}
		if !strings.Contains(stalled.Stacks, "TestWatchdogBarks") {
			t.Errorf("the stacks do not show who stands still:\n%s", stalled.Stacks)
		}
		w.end(time.Now())
	})
}

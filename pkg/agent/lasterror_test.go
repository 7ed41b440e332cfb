package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// An error is logged when it comes and when it is another one, and again after it was
// over.
func TestLastError(t *testing.T) {
	var l lastError
	full, gone := errors.New("no space left"), errors.New("no such file")
	for i, step := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {full, true}, {full, false}, {fmt.Errorf("%w", full), false}, {gone, true},
		{full, true}, {nil, false}, {full, true}, {errors.New(""), false},
	} {
		if got := l.news(step.err); got != step.want {
			t.Errorf("step %d (%v): news %v, want %v", i, step.err, got, step.want)
		}
	}
}

// What cannot be written is logged once, and not that one of many writes went well.
func TestUnsavedIsLoggedOnce(t *testing.T) {
	var b strings.Builder
	a := &Agent{log: slog.New(slog.NewTextHandler(&b, nil))}
	for range 3 {
		a.saved(errors.New("read-only file system"))
		a.saved(nil)
	}
	if n := strings.Count(b.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
}

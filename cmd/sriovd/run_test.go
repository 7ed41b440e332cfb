package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
)

// A daemon whose loop stands still ends with an error, and the log has what it stood
// at: there is nothing else to find that out by.
func TestStacksOfAStalledLoopAreLogged(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		logged bool
	}{
		"a stop":        {nil, false},
		"another error": {errors.New("no room"), false},
		"it stalled":    {&agent.StalledError{After: time.Minute, Stacks: "goroutine 7 [select]:\nagent.loop"}, true},
		"wrapped":       {fmt.Errorf("run: %w", &agent.StalledError{Stacks: "goroutine 7 [select]:\nagent.loop"}), true},
	} {
		var b strings.Builder
		if err := ended(slog.New(slog.NewTextHandler(&b, nil)), c.err); !errors.Is(err, c.err) {
			t.Errorf("%s: ended with %v", name, err)
		}
		if got := strings.Contains(b.String(), `stacks="goroutine 7 [select]:\nagent.loop"`) && strings.Count(b.String(), "\n") == 1; got != c.logged || !c.logged && b.Len() > 0 {
			t.Errorf("%s: logged %q", name, b.String())
		}
	}
}

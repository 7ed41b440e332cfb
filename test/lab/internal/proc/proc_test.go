package proc

import (
	"path/filepath"
	"testing"
)

// An emulator that aborts is started again; one that was killed, or ended by
// itself, is not.
func TestAborted(t *testing.T) {
	for script, want := range map[string]bool{
		"kill -ABRT $$": true,
		"kill -KILL $$": false,
		"exit 134":      false,
		"exit 0":        false,
	} {
		dir := t.TempDir()
		p, err := Start("sh", filepath.Join(dir, "log"), dir, "/bin/sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		if got := p.Aborted(); got != want {
			t.Errorf("%s: aborted %v, want %v", script, got, want)
		}
	}
}

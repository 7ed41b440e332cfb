package main

import (
	"flag"
	"path/filepath"
	"testing"
)

// Defaults are below the host's root in the extension's container, and the host's own
// paths on the host itself. What is given stays.
func TestDefaultsOnTheHost(t *testing.T) {
	there := t.TempDir()
	for name, c := range map[string]struct {
		root string
		want string
	}{
		"in the container": {there, there + "/var/lib/sriov"},
		"on the host":      {filepath.Join(there, "missing"), "/var/lib/sriov"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := flag.NewFlagSet("x", flag.ContinueOnError)
			state := fs.String("state-dir", c.root+"/var/lib/sriov", "")
			given := fs.String("run-dir", c.root+"/run", "")
			other := fs.String("sysfs", "/sys", "")
			if err := fs.Parse([]string{"-run-dir", c.root + "/elsewhere"}); err != nil {
				t.Fatal(err)
			}
			if err := onTheHost(fs, c.root); err != nil {
				t.Fatal(err)
			}
			if *state != c.want || *given != c.root+"/elsewhere" || *other != "/sys" {
				t.Errorf("state %s, want %s; given %s, other %s", *state, c.want, *given, *other)
			}
		})
	}
}

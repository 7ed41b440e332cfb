package spec_test

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// An order is any short text; dates and numbers need no quotes.
func TestForce(t *testing.T) {
	for value, want := range map[string]string{
		"2026-11-21":            "2026-11-21",
		"2026-11-21T09:30:00Z":  "2026-11-21T09:30:00Z",
		"7":                     "7",
		`"ticket 4711"`:         "ticket 4711",
		"yes, over everybody":   "yes, over everybody",
		`""`:                    "is empty",
		`"a\nb"`:                "control character",
		strings.Repeat("x", 65): "has 65 bytes",
		"true":                  "want a text",
		"[a]":                   "want a text",
	} {
		text := "apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {names: [eth0]}\n    numVFs: 1\n    resourceName: a.b/c\n    force: " + value + "\n"
		c, err := spec.Load("test", []byte(text))
		switch {
		case err != nil:
			if !strings.Contains(err.Error(), want) {
				t.Errorf("force: %s: %v, want %q", value, err, want)
			}
		case c.PhysicalFunctions[0].Force != want:
			t.Errorf("force: %s is %q, want %q", value, c.PhysicalFunctions[0].Force, want)
		}
	}
}

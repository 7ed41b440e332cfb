package agent

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/state"
)

// A config is parsed once for its content, not once for each time it is decided on.
func TestConfigIsParsedOnce(t *testing.T) {
	t.Parallel()
	good := []byte("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {names: [a]}\n    numVFs: 1\n")
	bad := []byte("nonsense")
	var d parsedConfigs
	parsed := 0
	load := func(name string, data []byte) judged {
		before := len(d.seen)
		j := d.load(name, data)
		if len(d.seen) != before {
			parsed++
		}
		return j
	}
	kept := state.LastGood{Known: true, Data: good}
	first := decide(&source.Document{Path: "x", Present: true, Data: bad}, kept, load)
	for range 10 {
		v := decide(&source.Document{Path: "x", Present: true, Data: bad}, kept, load)
		if v.cfg != first.cfg || len(v.spec.Errors) != len(first.spec.Errors) {
			t.Fatal("another decision on the same config")
		}
	}
	if parsed != 2 {
		t.Errorf("parsed %d times, want the newest and the last good config once each", parsed)
	}
}

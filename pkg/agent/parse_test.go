package agent

import (
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/source"
	"github.com/talos-sriov/talos-sriov/pkg/state"
)

// A config is parsed once for its content, not once for each pass, and the last good
// one not at all while it is the newest.
func TestConfigIsParsedOnce(t *testing.T) {
	t.Parallel()
	good := []byte("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {names: [a]}\n    numVFs: 1\n")
	var c configs
	c.accept(&source.Document{Path: "x", Present: true, Data: good})
	c.keep(state.LastGood{Known: true, Data: good})
	first := c.now()
	if first.Newest.Config == nil || first.LastGood.Config != first.Newest.Config {
		t.Error("one config was parsed twice")
	}
	c.accept(&source.Document{Path: "x", Present: true, Data: []byte("nonsense")})
	for range 10 {
		c.keep(state.LastGood{Known: true, Data: good})
		if now := c.now(); now.LastGood.Config != first.LastGood.Config || now.Newest.Err == nil {
			t.Fatal("the last good config was parsed again")
		}
	}
}

package e2e

import (
	"context"
	"strings"
	"testing"
)

// TestUpgrade upgrades Talos to an image that has another version of the extension, and
// rolls it back, under pods with VFs: `talosctl upgrade` with an installer that Talos'
// imager made, and `talosctl rollback`. What one version knew of the node, by its files
// in /var, the other goes by. The CNI plugin of the newer stays.
func TestUpgrade(t *testing.T) {
	n := node(t)
	// Without a rate: igb takes one with a link only, and a boot may be quicker.
	n.document(strings.Replace(attributes, "        rate: {max: 100}\n", "", 1))
	n.allocatable(4)
	stable := n.checkAttributes(0)
	old := n.status("a version", func(s status) bool { return s.Daemon.Version != "" }).Daemon.Version
	n.must(n.Apply(n.ctx(), deployment))
	n.deployed()
	n.must(n.InstallBootLoader(n.ctx()))

	const next = "9.9.9"
	image, err := n.Installer(n.ctx(), "next", release(t, next))
	n.must(err)
	for _, step := range []struct {
		how          func(context.Context) error
		version, cni string
		warns        []string
	}{
		{how: func(ctx context.Context) error { return n.Upgrade(ctx, image) }, version: next, cni: "installed"},
		{how: n.Rollback, version: old, cni: "newer", warns: []string{"state=newer"}},
	} {
		n.unmounts(step.how)
		out, err := n.Talosctl(n.ctx(), "get", "extensions")
		n.must(err)
		if !strings.Contains(out, " "+step.version) {
			t.Errorf("Talos has not version %s of the extension:\n%s", step.version, out)
		}
		n.status("version "+step.version, func(s status) bool {
			return s.Daemon.Version == step.version && s.CNI.State == step.cni && s.CNI.Version == next
		})
		n.allocatable(4)
		n.deployed()
		n.beforeKubelet()
		if got := n.checkAttributes(0); got != stable {
			t.Errorf("version %s: the stable MAC was %s, and is %s", step.version, stable, got)
		}
		if got := n.drift(); got != 0 {
			t.Errorf("version %s: nobody changed anything, but the status counts %d changes by somebody else", step.version, got)
		}
		n.noWarning(step.warns...)
	}
	end()
}

package e2e

import (
	"context"
	"strings"
	"testing"
)

// TestUpgrade upgrades Talos to an image that has another version of the extension, and
// rolls it back, under pods with VFs: `talosctl upgrade` with an installer that Talos'
// imager made, and `talosctl rollback`. What the version before knew of the node, by its
// files in /var, the next goes by.
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
		version string
		how     func(context.Context) error
	}{
		{next, func(ctx context.Context) error { return n.Upgrade(ctx, image) }},
		{old, n.Rollback},
	} {
		n.unmounts(step.how)
		n.runs(step.version)
		n.allocatable(4)
		n.deployed()
		n.beforeKubelet()
		if got := n.checkAttributes(0); got != stable {
			t.Errorf("version %s: the stable MAC was %s, and is %s", step.version, stable, got)
		}
		if got := n.drift(); got != 0 {
			t.Errorf("version %s: nobody changed anything, but the status counts %d changes by somebody else", step.version, got)
		}
		n.noWarning()
	}
	end()
}

// runs asserts that this version of the extension is in the image, runs, and has
// installed its CNI plugin.
func (n *node_) runs(version string) {
	n.t.Helper()
	out, err := n.Talosctl(n.ctx(), "get", "extensions")
	n.must(err)
	if !strings.Contains(out, " "+version) {
		n.t.Errorf("Talos has not version %s of the extension:\n%s", version, out)
	}
	n.status("version "+version, func(s status) bool {
		return s.Daemon.Version == version && s.CNI.State == "installed" && s.CNI.Version == version
	})
}

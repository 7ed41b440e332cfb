package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/cni"
	"github.com/talos-sriov/talos-sriov/pkg/install"
	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// The plugin follows the config, and is left where it is without one.
func TestCNIPluginFollowsTheConfig(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.cni = install.Options{Source: filepath.Join(n.dir, "sriov-cni"), OptDir: filepath.Join(n.dir, "opt"), Attachments: filepath.Join(n.dir, "attachments")}
	place := filepath.Join(n.cni.OptDir, "cni", "bin", "sriov")
	if err := errors.Join(os.WriteFile(n.cni.Source, []byte("plugin"), 0o755), os.Mkdir(n.cni.OptDir, 0o755)); err != nil {
		t.Fatal(err)
	}
	there := func(want bool) {
		t.Helper()
		if _, err := os.Stat(place); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", place, err, want)
		}
	}
	left := &attachments{}
	left.set(nil, cni.Orphan{Evidence: cni.EvidenceBoot, Device: "0000:21:10.0", File: "c1-net1"})
	n.attachments, n.grace = left, time.Nanosecond
	is := func(state outcome.State) func(*status.Status) bool {
		return func(s *status.Status) bool { return s.CNI != nil && s.CNI.State == state }
	}
	n.start()
	n.status("idle without a config", func(s *status.Status) bool { return s.Spec.State == status.SpecAbsent && s.CNI == nil })
	there(false)

	n.configure(vfs(pfA, 0))
	s := n.status("installed", is("installed"))
	want := status.CNI{Install: "true", State: "installed", Owner: "extension", Path: "/opt/cni/bin/sriov", Version: "test"}
	if *s.CNI != want {
		t.Errorf("got %+v, want %+v", *s.CNI, want)
	}
	there(true)
	n.status("what dead pods left is reclaimed", returned(1))

	n.configure("nonsense")
	n.status("refused", func(s *status.Status) bool { return s.Spec.State == status.SpecRefused })
	there(true)

	// Somebody else's plugin looks after its own.
	if err := errors.Join(os.Remove(place), os.WriteFile(place, []byte("theirs"), 0o755)); err != nil {
		t.Fatal(err)
	}
	n.configure(vfs(pfA, 0) + "# foreign\n")
	n.status("foreign", is("foreign"))
	left.set(nil, cni.Orphan{Evidence: cni.EvidenceBoot, Device: "0000:21:10.0", File: "c2-net1"})
	n.configure(vfs(pfA, 0) + "# and an orphan\n")
	n.status("the config in force", func(s *status.Status) bool { return s.Spec.Hash == spec.Hash([]byte(vfs(pfA, 0)+"# and an orphan\n")) })
	if tries, _ := left.did(); tries > 0 {
		t.Error("reclaimed although the plugin is somebody else's")
	}
	n.configure(vfs(pfA, 0) + "cni: {install: force}\n")
	n.status("ours again", func(s *status.Status) bool { return is("installed")(s) && returned(2)(s) })

	n.configure(vfs(pfA, 0) + "cni: {install: false}\n")
	n.status("off", is("off"))
	there(false)

	// The host's /opt comes late.
	if err := os.RemoveAll(n.cni.OptDir); err != nil {
		t.Fatal(err)
	}
	n.configure(vfs(pfA, 0))
	n.status("pending", is("pending"))
	if err := os.Mkdir(n.cni.OptDir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.configure(vfs(pfA, 0) + "# any event will do\n")
	n.status("installed", is("installed"))

	if err := os.Remove(n.config); err != nil {
		t.Fatal(err)
	}
	n.status("no config", func(s *status.Status) bool { return s.Spec.State == status.SpecAbsent && s.CNI == nil })
	there(true)
}

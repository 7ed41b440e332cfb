package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// TestShippedPatches: a running node takes every patch that the project ships, as a
// user applies it, and the extension takes every config in them. Their PFs are of cards
// that this node does not have, so that each is missing by its own name; what a patch
// has for Talos itself is seen in TestTalosLeavesVFsAlone, TestPartition, which loads
// modules, and TestSingleNUMANode.
func TestShippedPatches(t *testing.T) {
	n := boot(t, lab.Options{MemoryMB: 5120}) // one of them wants 2 GiB of large pages
	root, err := filepath.Abs("../../../machineconfig-patches")
	n.must(err)
	dirs := []string{"", "once"}
	if n.Version() >= "v1.14" {
		dirs[1] = "v1.14"
	}
	count := 0
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
		n.must(err)
		for _, f := range files {
			count++
			text, err := os.ReadFile(f)
			n.must(err)
			if out, err := n.Shell(n.ctx(), "talosctl patch machineconfig -p @"+f); err != nil {
				t.Errorf("%s: %v\n%s", f, err, out)
				continue
			}
			if !strings.Contains(string(text), "kind: ExtensionServiceConfig") {
				continue
			}
			first := strings.TrimSpace(string(text[strings.Index(string(text), "kind: SRIOVConfig"):]))
			first, _, _ = strings.Cut(first, "\n---")
			lines := strings.Split(first, "\n")
			var hash string
			n.must(n.WaitFor(n.ctx(), "wait for the config of "+f, func(ctx context.Context) (bool, error) {
				got, err := n.Get(ctx, "/system/overlays/extensions/sriov/etc-sriov-config.yaml")
				if last := strings.TrimSpace(lines[len(lines)-1]); err == nil && !strings.Contains(string(got), last) {
					err = fmt.Errorf("its last line %q is not there yet", last)
				}
				hash = fmt.Sprintf("%x", sha256.Sum256(got))
				return err == nil, err
			}))
			s := n.status("the config of "+filepath.Base(f)+" is in force", func(s status) bool { return s.Spec.Hash == hash && s.Spec.State == "accepted" })
			if len(s.Spec.Errors) != 0 {
				t.Errorf("%s: %+v", f, s.Spec.Errors)
			}
		}
	}
	if count < 8 {
		t.Errorf("%d patches were found, want all of machineconfig-patches", count)
	}
}

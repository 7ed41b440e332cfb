package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// Two configs in the directory of --config are a config that is refused: in
// status and log, with what to do, while the last good one stays in force.
func TestTwoConfigsAreRefused(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		n := newNode(t)
		n.config = filepath.Join(n.dir, "configs", "a.yaml")
		second := filepath.Join(filepath.Dir(n.config), "b.yaml")
		n.kubelet.Start()
		n.configure(vfs(pfA, 3))
		n.config = filepath.Dir(n.config)
		add := func() {
			if err := os.WriteFile(second, []byte(vfs(pfA, 2)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if before {
			n.start()
			n.healthy(3)
			add()
		} else {
			add()
			n.start()
		}
		s := n.status("refused", func(s *status.Status) bool { return s.Spec.State == status.SpecRefused })
		if len(s.Spec.Errors) != 1 || s.Spec.LastGood != before {
			t.Fatalf("%+v", s.Spec)
		}
		for _, want := range []string{n.config, "a.yaml, b.yaml", "keep one", "ExtensionServiceConfig"} {
			if !strings.Contains(s.Spec.Errors[0].Msg, want) {
				t.Errorf("the status does not say %q: %s", want, s.Spec.Errors[0].Msg)
			}
		}
		n.logged("holds 2 configs")
		if before {
			n.healthy(3)
		}
		for _, w := range n.kernel.Writes() {
			if strings.HasSuffix(w, "sriov_numvfs=2") || !before && strings.Contains(w, "sriov_numvfs") {
				t.Errorf("%s was written", w)
			}
		}
		// One is removed: what is left is read, without another event.
		if err := os.Remove(filepath.Join(n.config, "a.yaml")); err != nil {
			t.Fatal(err)
		}
		n.healthy(2)
		n.stop()
		if c := strings.Count(n.log.String(), "config refused"); c != 1 {
			t.Errorf("the refusal is logged %d times, want once", c)
		}
	}
}

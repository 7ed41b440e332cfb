package agent

import (
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/promtest"
	"github.com/talos-sriov/talos-sriov/pkg/metrics"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The golden file shows every metric that there is.
func TestFamilies(t *testing.T) {
	wanted := 4
	var c counts
	c.look()
	c.look()
	c.allocate("nvidia.com/cx7", 2)
	c.allocate("gone.com/pool", 1)
	c.write("0000:21:00.0", writeOK)
	c.write("0000:21:00.0", writeOK)
	c.write("0000:21:00.0", writeFailed)
	c.write("0000:41:00.0", writeRefused)
	s := &status.Status{
		Daemon: status.Daemon{Version: "v1.2.3", Started: time.Unix(1_750_000_000, 0)},
		Spec:   status.Spec{State: status.SpecRefused, LastGood: true},
		PFs: []status.PF{
			{Address: "0000:21:00.0", Name: "enp33s0", State: status.PFReady, Desired: status.Desired{NumVFs: &wanted}, Actual: status.Actual{NumVFs: 4}, Drift: 3},
			{Address: "0000:41:00.0", Name: "enp65s0", State: status.PFFailed, Actual: status.Actual{NumVFs: 1}, Errors: make([]plan.Problem, 2)},
		},
		Pools: []status.Pool{
			{ResourceName: "nvidia.com/cx7", Devices: 4, Healthy: 1, Registered: true, Members: []status.Device{
				{ID: "a", Healthy: true}, {ID: "b", Cause: "no-link"}, {ID: "c", Cause: "no-link"}, {ID: "d", Cause: causeUnusable},
			}},
			{ResourceName: "empty.com/pool"},
		},
		CNI: &status.CNI{State: "foreign"}, Orphans: &status.Orphans{Returned: 2, Pending: make([]status.Orphan, 1)},
		Problems: make([]plan.Problem, 1),
	}
	plugin := []deviceplugin.Status{{Resource: "nvidia.com/cx7", Registrations: 2}, {Resource: "empty.com/pool"}}
	got := metrics.Write(append(families(&told{status: s, plugin: plugin}, &c), process("/nonexistent", s)...))
	if err := promtest.Check(got); err != nil {
		t.Error(err)
	}
	const golden = "testdata/metrics.prom"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, rewrite with -update):\n%s", golden, diff)
	}

	// The manual names each of them, and no others.
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var have, documented []string
	for _, text := range []struct {
		lines  string
		prefix string
		to     *[]string
	}{{string(got), "# TYPE ", &have}, {string(manual), "| `sriov_", &documented}} {
		for line := range strings.Lines(text.lines) {
			if rest, ok := strings.CutPrefix(line, text.prefix); ok {
				name, _, _ := strings.Cut(strings.TrimPrefix(rest, "sriov_"), " ")
				name, _, _ = strings.Cut(strings.Trim(name, "`"), "{")
				if !strings.HasPrefix(name, "process_") {
					*text.to = append(*text.to, name)
				}
			}
		}
	}
	slices.Sort(have)
	slices.Sort(documented)
	if diff := cmp.Diff(have, documented); diff != "" {
		t.Errorf("docs/operations.md lists other metrics (-there are +listed):\n%s", diff)
	}
}

func TestHealthPage(t *testing.T) {
	var f figures
	f.proc = "/proc"
	if err := f.Health(); err == nil {
		t.Error("well before the first look")
	}
	if err := promtest.Check(f.Metrics()); err != nil {
		t.Error(err)
	}
	f.last.Store(&told{status: &status.Status{}, readErr: errors.New("no PCI bus")})
	if err := f.Health(); err == nil || !strings.Contains(err.Error(), "no PCI bus") {
		t.Errorf("error %v", err)
	}
	f.last.Store(&told{status: &status.Status{}})
	if err := f.Health(); err != nil {
		t.Error(err)
	}
	if text := f.Metrics(); !strings.Contains(string(text), "\nprocess_resident_memory_bytes ") {
		t.Errorf("no memory in\n%s", text)
	}
}

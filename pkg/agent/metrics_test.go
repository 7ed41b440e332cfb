package agent

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The golden file shows every metric that there is.
func TestMetricFamilies(t *testing.T) {
	t.Parallel()
	wanted := 4
	c := newCollector(func(time.Time) error { return nil })
	c.reconciles.Inc()
	c.reconciles.Inc()
	c.allocate("nvidia.com/cx7", 2)
	c.allocate("gone.com/pool", 1)
	c.write("0000:21:00.0", writeOK)
	c.write("0000:21:00.0", writeOK)
	c.write("0000:21:00.0", writeFailed)
	c.write("0000:41:00.0", writeRefused)
	noLink := status.Reason{Cause: "no-link"}
	s := &status.Status{
		Daemon: status.Daemon{Version: "v1.2.3", Started: time.Unix(1_750_000_000, 0)},
		Spec:   status.Spec{State: status.SpecRefused, LastGood: true},
		PFs: []status.PF{
			{Address: "0000:21:00.0", Name: "enp33s0", State: status.PFReady, Desired: status.Desired{NumVFs: &wanted}, Actual: status.Actual{NumVFs: 4}, Drift: 3},
			{Address: "0000:41:00.0", Name: "enp65s0", State: status.PFFailed, Actual: status.Actual{NumVFs: 1}, Errors: make([]status.Problem, 2)},
		},
		Pools: []status.Pool{
			{ResourceName: "nvidia.com/cx7", Devices: 4, Healthy: 1, Registered: true, Members: []status.Device{
				{ID: "a", Healthy: true}, {ID: "b", Reason: noLink}, {ID: "c", Reason: noLink}, {ID: "d", Reason: status.Reason{Cause: "unusable"}},
			}},
			{ResourceName: "empty.com/pool"},
		},
		CNI: &status.CNI{State: "foreign"}, Orphans: &status.Orphans{Returned: 2, Pending: make([]status.Orphan, 1)},
		Problems: make([]status.Problem, 1),
	}
	c.publish(s, []deviceplugin.Status{{Resource: "nvidia.com/cx7", Registrations: 2}, {Resource: "empty.com/pool"}}, nil)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	got := exposition(t, reg)
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
				*text.to = append(*text.to, name)
			}
		}
	}
	slices.Sort(have)
	slices.Sort(documented)
	if diff := cmp.Diff(have, documented); diff != "" {
		t.Errorf("docs/operations.md lists other metrics (-there are +listed):\n%s", diff)
	}
}

// exposition is what the registry has, as text that breaks no rule of Prometheus.
func exposition(t *testing.T, reg prometheus.Gatherer) []byte {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := promlint.New(bytes.NewReader(text.Bytes())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	return text.Bytes()
}

// An interface may have any bytes as its name; the metrics have it as UTF-8.
func TestMetricLabels(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"enp1s0": "enp1s0", "a\"b\\c": "a\"b\\c", "": "", "ü{}": "ü{}", "\xff\xfe": "\uFFFD", "a\xff": "a\uFFFD",
	} {
		c := newCollector(func(time.Time) error { return nil })
		c.publish(&status.Status{PFs: []status.PF{{Address: "0000:21:00.0", Name: name}}}, nil, nil)
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(c)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(exposition(t, reg)))
		if err != nil {
			t.Fatal(err)
		}
		f := families["sriov_pf_vfs"]
		if f == nil || len(f.GetMetric()) != 1 {
			t.Fatalf("%q: %v", name, f)
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			if l.GetName() == "name" && l.GetValue() != want {
				t.Errorf("%q came back as %q, want %q", name, l.GetValue(), want)
			}
		}
	}
}

func TestHealthPage(t *testing.T) {
	t.Parallel()
	c := newCollector(func(time.Time) error { return nil })
	pages := c.pages()
	if err := pages.Health(); err == nil {
		t.Error("healthy before the machine was read")
	}
	exposition(t, pages.Metrics)
	c.publish(&status.Status{}, nil, errors.New("no PCI bus"))
	if err := pages.Health(); err == nil || !strings.Contains(err.Error(), "no PCI bus") {
		t.Errorf("error %v", err)
	}
	c.publish(&status.Status{}, nil, nil)
	if err := pages.Health(); err != nil {
		t.Error(err)
	}
	text := string(exposition(t, pages.Metrics))
	for _, name := range []string{"process_resident_memory_bytes", "process_start_time_seconds"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("no %s in\n%s", name, text)
		}
	}
}

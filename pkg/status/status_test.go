package status_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/install/outcome"
	"github.com/talos-sriov/talos-sriov/pkg/plan/terms"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use/holder"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

func decode(t *testing.T, name string) *status.Status {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	s, err := status.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func text(t *testing.T, s *status.Status) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := status.Text(&b, s, status.TextOptions{Devices: true}); err != nil {
		t.Fatal(err)
	}
	p := &status.Plan{Notices: s.Notices, Problems: s.Problems}
	for i := range s.PFs {
		f := &s.PFs[i]
		p.PFs = append(p.PFs, status.PFPlan{Address: f.Address, Name: f.Name, Steps: f.Steps, Problems: f.Errors, Notices: f.Notices, Entry: f.Entry})
	}
	b.WriteString("\nplan:\n")
	if err := status.PlanText(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// whole has a value in every key of the file.
func whole() *status.Status {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	const pf, vf = "0000:21:00.0", "0000:21:10.0"
	pod := status.Holder{Device: vf, Namespace: "default", Pod: "web-0", Container: "main", Evidence: "pod-resources"}
	open := status.Holder{Device: "0000:21:10.2", Evidence: "vfio", Text: "a process that has VF 1 (0000:21:10.2) open (/dev/vfio/7 is open)"}
	pos := func(line, column int) spec.Pos { return spec.Pos{Line: line, Column: column} }
	problem := func(msg string) status.Problem {
		return status.Problem{Pos: pos(9, 7), PF: pf, VFs: []int{0, 1}, Msg: msg, Hint: "do this", Pending: true, Settling: true, Partial: true}
	}
	return &status.Status{
		APIVersion: status.APIVersion, Kind: status.Kind, Updated: at,
		Daemon: status.Daemon{Version: "v1.0.0", PID: 7, Started: at.Add(-time.Hour), BootID: "b0071d", Writes: 12},
		Spec: status.Spec{
			State: status.SpecPartly, Source: "/etc/config.yaml", Hash: "0123456789abcdef", InForce: "0123456789abcdef", LastGood: true,
			Errors:   []spec.Error{{Pos: pos(3, 5), Path: "physicalFunctions[0].numVFs", Msg: "is 900", Hint: "at most 256"}},
			Warnings: []spec.Error{{Pos: pos(4, 1), Path: "health", Msg: "is deprecated", Hint: "remove it"}},
		},
		PFs: []status.PF{{
			Address: pf, Name: "enp33s0", Driver: "igb", State: status.PFWaiting, Entry: pos(4, 5),
			Desired: status.Desired{NumVFs: new(4), MTU: new(9000), EswitchMode: "switchdev"},
			Actual:  status.Actual{NumVFs: 2, TotalVFs: 7, MTU: 1500, EswitchMode: "legacy", Carrier: true, Representors: map[int]string{0: "enp33s0r0", 10: "enp33s0r10"}},
			Steps: []status.Step{
				{
					ID: "a", Kind: "numvfs", Action: terms.ActionRemove, PF: pf, VFs: []int{0, 1}, Object: "/sys/bus/pci/devices/0000:21:00.0/sriov_numvfs",
					From: "2", To: "0", Reason: "the kernel grows through 0 only", Disruption: terms.DisruptDestroyed, Wait: []status.Holder{pod, open},
				},
				{
					ID: "b", Kind: "vf-unbind", Action: terms.ActionChange, PF: pf, VFs: []int{0}, Object: "/sys/bus/pci/drivers/igbvf/unbind", Shared: true,
					From: "igbvf", Reason: "its driver is another", Disruption: terms.DisruptReset, Needs: []string{"a"}, BlockedBy: "a",
					Forced: []status.Holder{pod}, Optional: true, Key: "driver",
				},
			},
			Errors: []status.Problem{problem("the driver igbvf is not loaded")}, Notices: []status.Problem{problem("slow slot")}, Drift: 3,
		}},
		Pools: []status.Pool{{
			ResourceName: "intel.com/igb", Devices: 2, Healthy: 1, Registered: true, Error: "waits for the kubelet", Notices: []string{"2 RDMA devices without rdma_cm"},
			Members: []status.Device{
				{ID: vf, Healthy: true, Use: status.UseHeld, Holders: []status.Holder{pod, open}},
				{ID: "0000:21:10.2", Reason: status.Reason{Cause: "no-link", Text: "PF enp33s0 has no link"}, Use: status.UseFree},
			},
		}},
		RDMANetns: "exclusive",
		CNI:       &status.CNI{Install: "true", State: outcome.Foreign, Owner: outcome.Other, Path: "/opt/cni/bin/sriov", Version: "v1", Reason: "a file was there", Hint: "force"},
		Orphans:   &status.Orphans{Returned: 2, Pending: []status.Orphan{{Device: vf, Attachment: "abc-net1", Evidence: "netns", Since: at, Reason: "in use: pod default/x"}}},
		Problems:  []status.Problem{problem("the machine cannot be read: EIO")}, Notices: []status.Problem{problem("the entry selects no PF")},
	}
}

// TestWholeFile: what the file looks like, with every key.
func TestWholeFile(t *testing.T) {
	data, err := status.Encode(whole())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "whole.yaml", data)
	golden(t, "whole.txt", text(t, whole()))
	got, err := status.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(whole(), got); d != "" {
		t.Errorf("(-written +read):\n%s", d)
	}
}

// TestBefore: the file of a daemon that has the holder of a device as a text reads
// as that daemon meant it.
func TestBefore(t *testing.T) {
	s := decode(t, "before.yaml")
	golden(t, "before.txt", text(t, s))
	step := s.PFs[0].Steps[0]
	if step.Object == "" || step.From != "2" || step.To != "0" || len(step.Wait) != 3 || step.Wait[1].Evidence != "kernel" || step.Wait[1].Text == "" ||
		step.Wait[0].Pod != "web-0" || s.PFs[0].Steps[1].Forced[0].Pod != "web-0" {
		t.Errorf("the steps: %+v", s.PFs[0].Steps)
	}
	type device struct {
		use     status.Use
		holders string
		reason  status.Reason
	}
	want := []device{
		{status.UseHeld, "pod default/web-0", status.Reason{}},
		{status.UseUnknown, "the kubelet to say who holds what (connection refused)", status.Reason{Cause: "no-link", Text: "PF enp33s0 has no link"}},
		{status.UseFree, "", status.Reason{Cause: "not-configured", Text: "not configured yet"}},
		{status.UseHeld, "pod default/of-an-older-daemon", status.Reason{}},
		{status.UseUnknown, "", status.Reason{}},
	}
	for i, w := range want {
		d := &s.Pools[0].Members[i]
		if got := (device{d.InUse(), holder.Names(d.Holders), d.Reason}); got != w {
			t.Errorf("%s: %+v, want %+v", d.ID, got, w)
		}
	}
}

// TestOlderReaders: a reader that knows a device's holder as a text only, and that
// takes one without it for free, is told of every device that is not free.
func TestOlderReaders(t *testing.T) {
	s := whole()
	s.Pools[0].Members = append(s.Pools[0].Members,
		status.Device{ID: "c", Use: status.UseUnknown, Holders: []status.Holder{{Device: "c", Evidence: "none", Text: "the kubelet to say"}}})
	data, err := status.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	var older struct {
		Pools []struct {
			Members []struct {
				ID, Reason, Cause, Use, Holder string
			}
		}
	}
	if err := yaml.Unmarshal(data, &older); err != nil {
		t.Fatal(err)
	}
	got := older.Pools[0].Members
	if got[0].Holder != "pod default/web-0, a process that has VF 1 (0000:21:10.2) open (/dev/vfio/7 is open)" || got[0].Use != "held" ||
		got[1].Holder != "" || got[1].Reason != "PF enp33s0 has no link" || got[1].Cause != "no-link" || got[2].Holder != "the kubelet to say" {
		t.Errorf("%+v", got)
	}
}

// TestFuture: values that are not known yet are kept and shown with what came
// along, keys that are not known are ignored, and nothing becomes free or healthy.
func TestFuture(t *testing.T) {
	s := decode(t, "future.yaml")
	out := text(t, s)
	golden(t, "future.txt", out)
	for _, d := range s.Pools[0].Members {
		if d.InUse() == status.UseFree {
			t.Errorf("%s is taken for free: %+v", d.ID, d)
		}
	}
	for _, want := range []string{
		"staged", "hibernating", "devlink pci/0000:21:00.0 vf 3 colour: red -> green", "the config asks for green", "vf-dims",
		"somebody who looks at VF 3", "(camera)", "it is asleep", "unhealthy: asleep", `"lent"`, "a lease until noon", "a guest", ": cluster",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the text does not show %q:\n%s", want, out)
		}
	}
	again, err := status.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	back, err := status.Decode(again)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, back); d != "" {
		t.Error(d)
	}
}

func TestOtherFiles(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		kind *status.KindError // nil: another error
	}{
		"another kind":    {"apiVersion: v1alpha1\nkind: Pod\n", &status.KindError{APIVersion: "v1alpha1", Kind: "Pod"}},
		"another version": {"apiVersion: v1\nkind: SRIOVStatus\npfs: true\n", &status.KindError{APIVersion: "v1", Kind: "SRIOVStatus"}},
		"empty":           {"", &status.KindError{}},
		"no YAML":         {"a: [", nil},
		"wrong types":     {"apiVersion: v1alpha1\nkind: SRIOVStatus\npfs: true\n", nil},
	} {
		s, err := status.Decode([]byte(c.data))
		var kind *status.KindError
		if s != nil || err == nil || errors.As(err, &kind) != (c.kind != nil) || kind != nil && *kind != *c.kind {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// TestSum: two statuses are the same when their files are, but for the time.
func TestSum(t *testing.T) {
	sum := func(change func(*status.Status)) status.Sum {
		s := whole()
		change(s)
		got, err := status.SumOf(s)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := sum(func(*status.Status) {})
	for name, change := range map[string]func(*status.Status){
		"another time": func(s *status.Status) { s.Updated = time.Now() },
		"nil and empty": func(s *status.Status) {
			s.PFs[0].Steps[0].Needs, s.Pools[0].Members[1].Holders = []string{}, []status.Holder{}
		},
		"another zone": func(s *status.Status) {
			s.Daemon.Started = time.Unix(s.Daemon.Started.Unix(), 0).UTC()
		},
	} {
		if sum(change) != same {
			t.Errorf("%s is news", name)
		}
	}
	for name, change := range map[string]func(*status.Status){
		"a holder":  func(s *status.Status) { s.Pools[0].Members[0].Holders[0].Container = "other" },
		"a cause":   func(s *status.Status) { s.Pools[0].Members[1].Reason.Cause = "pf-down" },
		"a step":    func(s *status.Status) { s.PFs[0].Steps[1].BlockedBy = "" },
		"a counter": func(s *status.Status) { s.Daemon.Writes++ },
	} {
		if sum(change) == same {
			t.Errorf("%s is no news", name)
		}
	}
}

// TestHealthy: what is pending or waits is not wrong.
func TestHealthy(t *testing.T) {
	good := func() *status.Status {
		return &status.Status{
			Spec: status.Spec{State: status.SpecAccepted}, PFs: []status.PF{{State: status.PFWaiting}, {State: status.PFPending}},
			Pools: []status.Pool{{}}, CNI: &status.CNI{State: outcome.Foreign},
		}
	}
	if !good().Healthy() {
		t.Error("a good status is not healthy")
	}
	for name, spoil := range map[string]func(*status.Status){
		"refused":    func(s *status.Status) { s.Spec.State = status.SpecRefused },
		"partly":     func(s *status.Status) { s.Spec.State = status.SpecPartly },
		"a problem":  func(s *status.Status) { s.Problems = []status.Problem{{}} },
		"a PF":       func(s *status.Status) { s.PFs[1].State = status.PFFailed },
		"a pool":     func(s *status.Status) { s.Pools[0].Error = "x" },
		"the plugin": func(s *status.Status) { s.CNI.State = outcome.Failed },
	} {
		s := good()
		if spoil(s); s.Healthy() {
			t.Errorf("%s: healthy", name)
		}
	}
}

// TestRunsOfSteps: neighbours that differ only in their VF are one line, which
// names all VFs; those that wait, or differ in anything, are their own.
func TestRunsOfSteps(t *testing.T) {
	step := func(vf int, change func(*status.Step)) status.Step {
		s := status.Step{Kind: "vf-trust", Action: terms.ActionChange, VFs: []int{vf}, Object: "o", From: "off", To: "on", Reason: "r", Disruption: terms.DisruptReset}
		change(&s)
		return s
	}
	as := func(*status.Step) {}
	var b bytes.Buffer
	if err := status.PlanText(&b, &status.Plan{PFs: []status.PFPlan{{Address: "pf", Steps: []status.Step{
		step(0, as), step(1, as), step(2, as), step(5, as), step(7, as), step(8, as),
		step(9, func(s *status.Step) { s.To = "off" }), step(10, func(s *status.Step) { s.BlockedBy = "x" }), step(11, func(s *status.Step) { s.BlockedBy = "y" }),
		step(12, func(s *status.Step) { s.Wait = []status.Holder{{Namespace: "a", Pod: "b"}} }),
	}}}}); err != nil {
		t.Fatal(err)
	}
	want := `pf
  ~ o and 5 more (VFs 0-2,5,7-8): off -> on
      r
      resets VFs 0-2,5,7-8
  ~ o: off -> off
      r
      resets VF 9
  ~ o and 1 more (VFs 10-11): off -> on
      r
      resets VFs 10-11
      ! waits for the step above
  ~ o: off -> on
      r
      resets VF 12
      ! waits for pod a/b
Plan for 1 PF: 7 changes, 3 steps waiting.
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

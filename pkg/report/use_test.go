package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/report"
	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
	"github.com/talos-sriov/talos-sriov/pkg/use/holder"
)

const vf = "0000:21:10.0"

// holders has one of every kind of evidence.
func holders() []use.Holder {
	return []use.Holder{
		{Device: vf, Namespace: "default", Pod: "web-0", Container: "main", Evidence: use.EvidencePodResources},
		{Device: vf, Namespace: "default", Pod: "web-1", Container: "init", Resource: "example.com/vf", Evidence: use.EvidenceCheckpoint, Text: "the pod with the UID"},
		{Device: vf, Evidence: use.EvidenceAllocation, Text: "the pod that it was allocated to"},
		{Device: vf, Evidence: use.EvidenceKernel, Text: "a network namespace"},
		{Device: vf, Evidence: use.EvidenceOpen, Text: "a process that has it open"},
		{Device: vf, Evidence: use.EvidenceHost, Text: "the host: it carries an address, and a route"},
		{Device: vf, Evidence: use.EvidenceNone, Text: "the kubelet to say who holds what (connection refused)"},
		{Device: vf, Evidence: "of-tomorrow"},
	}
}

// TestUseCrossesTheFile: what the node knows of a device's use is what the
// workstation reads, holder by holder and for every kind of evidence.
func TestUseCrossesTheFile(t *testing.T) {
	for name, st := range map[string]use.Status{
		"free":          {State: use.Free},
		"held by many":  {State: use.Held, Holders: holders()},
		"held, by whom": {State: use.Held},
		"unknown":       {State: use.Unknown, Holders: []use.Holder{{Device: vf, Evidence: use.EvidenceNone, Text: "the kubelet to say"}}},
	} {
		d := status.Device{ID: vf, Healthy: true}
		d.Use, d.Holders = report.Use(st)
		path := filepath.Join(t.TempDir(), state.StatusFile)
		if err := status.Write(path, &status.Status{
			APIVersion: status.APIVersion, Kind: status.Kind, Pools: []status.Pool{{Members: []status.Device{d}}},
		}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := status.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		got := report.UseOf(s).Of(vf)
		if st.State == use.Held && st.Holders == nil {
			st.Holders = []use.Holder{{Device: vf, Evidence: use.EvidenceNone, Text: "a holder that the node does not name"}}
		}
		// Logs on the node and texts on the workstation name a holder in one way.
		if a, b := use.Names(st.Holders), holder.Names(got.Holders); a != b {
			t.Errorf("%s: node: %s, workstation: %s", name, a, b)
		}
		if d := cmp.Diff(st, got); d != "" {
			t.Errorf("%s (-node +workstation):\n%s", name, d)
		}
	}
}

// TestUseOfStatus: only what the node says is free is free.
func TestUseOfStatus(t *testing.T) {
	pod := []status.Holder{{Device: vf, Namespace: "default", Pod: "web", Evidence: "pod-resources"}}
	none := []status.Holder{{Device: vf, Evidence: "none", Text: "the kubelet to say who holds what"}}
	for name, c := range map[string]struct {
		device status.Device
		want   use.State
		text   string
	}{
		"free":                 {status.Device{Use: status.UseFree}, use.Free, ""},
		"held":                 {status.Device{Use: status.UseHeld, Holders: pod}, use.Held, "pod default/web"},
		"held by nobody named": {status.Device{Use: status.UseHeld}, use.Held, "does not name"},
		"unknown":              {status.Device{Use: status.UseUnknown, Holders: none}, use.Unknown, "the kubelet to say"},
		"unknown, no text":     {status.Device{Use: status.UseUnknown}, use.Unknown, "unknown"},
		"an older daemon":      {status.Device{Holders: pod}, use.Held, "pod default/web"},
		"older, free or not":   {status.Device{}, use.Unknown, "too old"},
		"a newer value":        {status.Device{Use: "borrowed"}, use.Unknown, `"borrowed"`},
		"free with a holder":   {status.Device{Use: status.UseFree, Holders: pod}, use.Unknown, "pod default/web"},
	} {
		c.device.ID = vf
		st := report.UseOf(&status.Status{Pools: []status.Pool{{Members: []status.Device{c.device}}}}).Of(vf)
		if st.State != c.want || st.Busy() != (c.want != use.Free) {
			t.Errorf("%s: %v, want %v", name, st.State, c.want)
		}
		if text := use.Names(st.Holders); !strings.Contains(text, c.text) {
			t.Errorf("%s: %q, want %q", name, text, c.text)
		}
	}
	for name, s := range map[string]*status.Status{"no status": nil, "in no pool": {}} {
		if st := report.UseOf(s).Of(vf); st.State != use.Unknown || len(st.Holders) == 0 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// TestUseOfADeviceInTwoPools: it is free only when every pool says so, in whichever
// order they come.
func TestUseOfADeviceInTwoPools(t *testing.T) {
	pool := func(u status.Use) status.Pool { return status.Pool{Members: []status.Device{{ID: vf, Use: u}}} }
	for _, c := range []struct {
		first, second status.Use
		want          use.State
	}{
		{status.UseFree, status.UseFree, use.Free},
		{status.UseFree, status.UseHeld, use.Held},
		{status.UseHeld, status.UseFree, use.Held},
		{status.UseFree, status.UseUnknown, use.Unknown},
		{status.UseUnknown, status.UseFree, use.Unknown},
	} {
		got := report.UseOf(&status.Status{Pools: []status.Pool{pool(c.first), pool(c.second)}}).Of(vf)
		if got.State != c.want {
			t.Errorf("%s and %s: %v, want %v", c.first, c.second, got.State, c.want)
		}
	}
}

// TestPFsOfNoPoolAreFree: a plan for a node without the extension shows what would be
// done to its PFs, and one for a PF that a pool has shows who has it.
func TestPFsOfNoPoolAreFree(t *testing.T) {
	snap := &inventory.Snapshot{
		PFs:          []inventory.PF{{Function: inventory.Function{Address: pfA}, VFs: []inventory.VF{{Function: inventory.Function{Address: vf}}}}},
		Subfunctions: []inventory.Subfunction{{Name: "mlx5_core.sf.4"}},
	}
	held := &status.Status{Pools: []status.Pool{{Members: []status.Device{{ID: pfA, Use: status.UseHeld}}}}}
	for name, c := range map[string]struct {
		s    *status.Status
		want [3]use.State
	}{
		"no status": {nil, [3]use.State{use.Free, use.Unknown, use.Free}},
		"no pool":   {&status.Status{}, [3]use.State{use.Free, use.Unknown, use.Free}},
		"in a pool": {held, [3]use.State{use.Held, use.Unknown, use.Free}},
	} {
		set := report.WithPFs(report.UseOf(c.s), snap)
		if got := [3]use.State{set.Of(pfA).State, set.Of(vf).State, set.Of("mlx5_core.sf.4").State}; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

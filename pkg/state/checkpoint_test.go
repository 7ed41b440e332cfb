package state_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/state"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// A kubelet that hangs was seen, and what only its checkpoint names is given: after the
// next boot a pod may have it again without an Allocate.
func TestConfirmedByTheCheckpoint(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	offered := map[string]bool{"0000:21:10.0": true}
	k := use.Kubelet{Checkpoint: use.Checkpoint{Entries: []use.Entry{
		{PodUID: "u", Resource: "a/b", Devices: []string{"0000:21:10.0", "another plugin's"}},
	}}}
	if got := (state.Allocations{}).Confirmed(k, nil, offered, now); got.KubeletSeen || len(got.Given) != 0 {
		t.Errorf("no kubelet in this boot: %+v", got)
	}
	k.Listening = true
	got := (state.Allocations{}).Confirmed(k, nil, offered, now)
	if d := cmp.Diff([]string{"0000:21:10.0"}, got.Given); !got.KubeletSeen || d != "" {
		t.Errorf("seen %v, %s", got.KubeletSeen, d)
	}
}

package cni

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/cni/netconf"
)

// The differences that CHECK finds are named with what was found and what should be.
func TestDifferences(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	args := cmd("c1", "/ns/a", conf(0, `"vlan":100,"rdma":true`))
	_, err := r.Add(t.Context(), args)
	must(t, err)
	c, err := netconf.Decode(args.StdinData)
	must(t, err)
	now, err := r.look(t.Context(), args, c)
	must(t, err)
	if diffs := now.differences(); len(diffs) > 0 {
		t.Errorf("differences of nothing: %v", diffs)
	}
	r.m.vfs[0].VLAN, r.m.vfLink(0).Up, r.m.rdma["mlx5_0"] = 7, false, ""
	must(t, r.store().Allocate(vfAddr(0), "/ns/b"))
	now, err = r.look(t.Context(), args, c)
	must(t, err)
	if diff := cmp.Diff([]string{
		`allocation of VF 0000:21:10.0 is "/ns/b", not "/ns/a"`,
		"vlan of VF 0000:21:10.0 at its PF is 7 (priority 0, protocol 0x8100), not 100 (priority 0, protocol 0x8100)",
		"net1 is down, not up",
		"RDMA device mlx5_0 is elsewhere, not in the pod",
	}, texts(now.differences())); diff != "" {
		t.Error(diff)
	}
}

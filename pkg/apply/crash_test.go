package apply_test

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// scenario is a machine in some state and the config that comes next. One PF
// each: the points of one PF come in one order.
type scenario struct {
	name   string
	before *spec.Config // nil: a fresh machine
	after  *spec.Config
	reset  bool // needs the record to get there
}

func scenarios() []scenario {
	with := func(pf string, n int, change func(*spec.PhysicalFunction), groups ...spec.VFGroup) *spec.Config {
		e := pfEntry(pf, n, groups...)
		if change != nil {
			change(&e)
		}
		return doc(e)
	}
	switchdev := func(e *spec.PhysicalFunction) { e.EswitchMode = spec.EswitchSwitchdev }
	legacy := func(e *spec.PhysicalFunction) { e.EswitchMode = spec.EswitchLegacy }
	jumbo := func(e *spec.PhysicalFunction) { e.MTU = ptr(9000) }
	normal := func(e *spec.PhysicalFunction) { e.MTU = ptr(1500) }
	vfio := spec.VFGroup{Indexes: indexes(0, 1), Driver: spec.DriverVFIO, VLAN: &spec.VLAN{ID: 7}}
	none := spec.VFGroup{Indexes: indexes(2, 2), Driver: spec.DriverNone}
	stable := spec.VFGroup{Indexes: indexes(0, 1), MACAddresses: spec.MACPolicy{Mode: spec.MACStable}}
	vdpa := spec.VFGroup{Indexes: indexes(0, 1), VDPA: spec.VDPAVhost}
	guids := spec.VFGroup{Indexes: indexes(0, 1), RDMA: true, GUIDs: spec.GUIDPolicy{
		Mode: spec.MACList, List: []net.HardwareAddr{{2, 0, 0, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 0, 0, 2}}}}
	return []scenario{
		{"create", nil, with(pf0, 3, nil), false},
		{"grow", with(pf0, 3, nil), with(pf0, 5, nil), false},
		{"shrink to nothing", with(pf0, 3, nil), with(pf0, 0, nil), false},
		{"everything at once", nil, with(pf0, 5, jumbo, everything()), false},
		{"everything later", with(pf0, 5, nil), with(pf0, 5, jumbo, everything()), false},
		{"everything back", with(pf0, 5, jumbo, everything()), with(pf0, 5, normal), false},
		{"partition", nil, with(pf0, 5, nil, vfio, none), false},
		{"partition later", with(pf0, 5, nil), with(pf0, 5, nil, vfio, none), false},
		{"partition back", with(pf0, 5, nil, vfio, none), with(pf0, 5, nil), false},
		{"stable MACs later", with(pf0, 3, nil), with(pf0, 3, nil, stable), false},
		{"switchdev", nil, with(mlx, 3, switchdev), false},
		{"switchdev later", with(mlx, 3, nil), with(mlx, 3, switchdev), false},
		{"switchdev grows", with(mlx, 3, switchdev), with(mlx, 4, switchdev), false},
		{"switchdev back", with(mlx, 3, switchdev), with(mlx, 3, legacy), false},
		{"switchdev, mode first", nil, with(ice, 3, switchdev), false},
		{"switchdev later, mode first", with(ice, 3, nil), with(ice, 3, switchdev), false},
		{"vdpa", nil, with(mlx, 3, switchdev, vdpa), false},
		{"vdpa back", with(mlx, 3, switchdev, vdpa), with(mlx, 3, switchdev), false},
		{"guids and rdma", nil, with(mlx, 3, nil, guids), false},
		{"guids and rdma later", with(mlx, 3, nil), with(mlx, 3, nil, guids), false},
		{"left the config", with(pf0, 5, jumbo, everything()), doc(), true},
		{"left in switchdev", with(mlx, 3, switchdev), doc(), true},
	}
}

// TestCrashWalk kills apply at every named point in turn, starts it again, and
// expects the end of an undisturbed run, with the record and without it.
func TestCrashWalk(t *testing.T) {
	points := 0
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			want, n := walk(t, sc, 0, false)
			step := 1
			if testing.Short() {
				step = 4 // of the points, with the last
			}
			for i := n; i > 0; i -= step {
				for _, lose := range []bool{false, true} {
					if lose && sc.reset {
						continue // what nobody remembers making stays
					}
					got, _ := walk(t, sc, i, lose)
					if d := cmp.Diff(want, got); d != "" {
						t.Fatalf("killed at point %d (record lost: %t): the end differs (-undisturbed +killed):\n%s", i, lose, d)
					}
				}
			}
			points += n
		})
	}
	t.Logf("walked %d points of %d changes", points, len(scenarios()))
}

// walk makes the change and returns what the machine is then, and how many
// points it passed. It is killed at point at; 0 is never.
func walk(t *testing.T, sc scenario, at int, lose bool) (end string, points int) {
	t.Helper()
	n := newNode(sc.before)
	n.k.LoadVDPA("vhost_vdpa")
	if sc.before != nil {
		n.converge(t)
	}
	n.cfg = sc.after
	killed := false
	opts := n.options()
	opts.Point = func(string) {
		points++
		if points == at {
			killed = true
			runtime.Goexit() // nothing more of this run happens
		}
	}
	n.a = newApplier(n.k, opts)
	for range 8 {
		p := n.plan()
		if killed || !runnable(p) {
			break
		}
		n.a.Run(t.Context(), p)
	}
	if at > 0 && !killed {
		t.Fatalf("there is no point %d", at)
	}
	if lose {
		n.rec = record.Record{BootID: boot}
	}
	n.start()
	if p := n.converge(t); !p.Done() {
		t.Fatalf("killed at point %d: %s", at, text(p))
	}
	if v := n.k.Violations(); len(v) > 0 {
		t.Fatal(v)
	}
	return fingerprint(n.k), points
}

// fingerprint is all of the machine that a config can rule; addresses that the
// kernel makes up are left out.
func fingerprint(k *modelkernel.Kernel) string {
	var b strings.Builder
	for _, pf := range k.Snapshot().PFs {
		tc := pf.TCOffload != nil && *pf.TCOffload
		fmt.Fprintf(&b, "%s vfs %d autoprobe %t mode %s tc %t", pf.Address, pf.NumVFs, pf.AutoProbe, pf.EswitchMode, tc)
		for _, d := range pf.Netdevs {
			fmt.Fprintf(&b, " mtu %d up %t", d.MTU, d.AdminUp)
		}
		b.WriteByte('\n')
		for _, vf := range pf.VFs {
			fmt.Fprintf(&b, "  %d driver %s override %s admin %+v rdma %d", vf.Index, vf.Driver, vf.DriverOverride, *vf.Admin, len(vf.RDMA))
			for _, d := range vf.Netdevs {
				fmt.Fprintf(&b, " mtu %d", d.MTU)
				if vf.Admin.MAC != "00:00:00:00:00:00" {
					fmt.Fprintf(&b, " mac %s", d.MAC)
				}
			}
			if vf.VDPA != nil {
				fmt.Fprintf(&b, " vdpa %+v", *vf.VDPA)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

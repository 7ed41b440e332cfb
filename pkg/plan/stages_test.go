package plan

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/record"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Each stage of VF work by itself: what it makes of the value before it.

const stagePF = "0000:21:00.0"

func on[T any](v T) *T { return &v }

// stagePort is an igb PF with n VFs, of which the held ones are a pod's.
func stagePort(n int, change func(*inventory.PF, *spec.PhysicalFunction), held ...int) *port {
	pf := inventory.PF{
		Function: inventory.Function{
			Address: stagePF, Vendor: "8086", Device: "10c9", Class: "020000", Driver: "igb",
			Netdevs: []inventory.Netdev{{Name: "enp33s0", PermMAC: "52:54:00:00:00:01", MTU: 1500, AdminUp: true, Carrier: true}},
		},
		TotalVFs: 7, NumVFs: n, AutoProbe: true,
	}
	kubelet := use.Kubelet{Answered: true, Held: map[string][]use.Holder{}}
	for i := range n {
		addr := fmt.Sprintf("0000:21:10.%d", i)
		pf.VFs = append(pf.VFs, inventory.VF{
			Index: i, Admin: &inventory.VFAdmin{MAC: "00:00:00:00:00:00", LinkState: "auto"},
			Function: inventory.Function{
				Address: addr, Class: "020000", Driver: "igbvf",
				Netdevs: []inventory.Netdev{{Name: fmt.Sprintf("enp33s0v%d", i), MAC: "02:00:00:00:00:0a", MTU: 1500}},
			},
		})
	}
	for _, i := range held {
		addr := pf.VFs[i].Address
		kubelet.Held[addr] = []use.Holder{{Device: addr, Namespace: "default", Pod: "p", Evidence: use.EvidencePodResources}}
	}
	entry := spec.PhysicalFunction{NumVFs: &n}
	change(&pf, &entry)
	snap := &inventory.Snapshot{PFs: []inventory.PF{pf}, PCIDrivers: []string{"igb", "igbvf", "vfio-pci"}}
	in := &Input{Snapshot: snap, Use: use.Judge(use.Evidence{Snapshot: snap, Kubelet: kubelet})}
	return &newWork(in, &snap.PFs[0], &entry, "").port
}

// nothing changes neither PF nor entry.
func nothing(*inventory.PF, *spec.PhysicalFunction) {}

// brief are the steps: ID, what they need, and whether they wait.
func brief(steps []Step) []string {
	var out []string
	for i := range steps {
		s := &steps[i]
		line := strings.TrimPrefix(s.ID, stagePF+"/")
		for _, n := range s.Needs {
			line += " <" + strings.TrimPrefix(n, stagePF+"/")
		}
		if len(s.Wait) > 0 {
			line += " waits"
		}
		out = append(out, line)
	}
	return out
}

func checkSteps(t *testing.T, steps []Step, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, brief(steps)); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
}

const numVFs2 = stagePF + "/numvfs=2"

func TestGather(t *testing.T) {
	group := func(_ *inventory.PF, e *spec.PhysicalFunction) {
		e.NumVFs = on(2)
		e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{1}}}
	}
	for name, c := range map[string]struct {
		m    made
		want string
	}{
		"exist":     {made{}, "0 bound free, 1 bound grouped held, 2 bound free"},
		"made":      {made{by: numVFs2}, "0 made bound free, 1 made bound grouped free"},
		"made cold": {made{by: numVFs2, cold: true}, "0 made free, 1 made grouped free"},
	} {
		var got []string
		for _, v := range stagePort(3, group, 1).gather(c.m) {
			line := fmt.Sprint(v.index)
			if v.made != "" {
				line += " made"
			}
			if v.bound {
				line += " bound"
			}
			if v.group != nil {
				line += " grouped"
			}
			if v.taken {
				line += " held"
			} else {
				line += " free"
			}
			got = append(got, line)
		}
		if d := cmp.Diff(c.want, strings.Join(got, ", ")); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestUnbindForTheMode: all VFs go for the mode, or none while a pod has one.
func TestUnbindForTheMode(t *testing.T) {
	mode := func(_ *inventory.PF, e *spec.PhysicalFunction) { e.EswitchMode = spec.EswitchSwitchdev }
	p := stagePort(2, mode, 1)
	vfs, id, y := p.unbind(made{mode: spec.EswitchLegacy, to: spec.EswitchSwitchdev}, p.gather(made{}))
	checkSteps(t, y.steps, "vf0/vf-unbind waits", "vf1/vf-unbind waits",
		"eswitch-mode=switchdev <vf0/vf-unbind <vf1/vf-unbind", "hw-tc-offload <eswitch-mode=switchdev")
	if id != stagePF+"/eswitch-mode=switchdev" || vfs[1].unbind != stagePF+"/vf1/vf-unbind" {
		t.Errorf("mode by %q, VF 1 unbound by %q", id, vfs[1].unbind)
	}
	p = stagePort(2, nothing)
	if vfs, id, y = p.unbind(made{mode: spec.EswitchLegacy}, p.gather(made{})); id != "" || len(y.steps) > 0 || len(vfs) != 2 || vfs[0].unbind != "" {
		t.Errorf("without a new mode: %q, %v, %+v", id, brief(y.steps), vfs)
	}
}

func TestAttribute(t *testing.T) {
	group := func(g spec.VFGroup) func(*inventory.PF, *spec.PhysicalFunction) {
		return func(_ *inventory.PF, e *spec.PhysicalFunction) {
			g.Indexes = spec.IndexSet{0, 1}
			e.VirtualFunctions = []spec.VFGroup{g}
		}
	}
	stable := spec.VFGroup{MACAddresses: spec.MACPolicy{Mode: spec.MACStable}}
	for name, c := range map[string]struct {
		p       *port
		m       made
		steps   []string
		rebinds int // VFs whose driver must be bound again
		found   []findingKind
	}{
		"as it is":              {p: stagePort(2, group(spec.VFGroup{Trust: on(false)}))},
		"differs":               {p: stagePort(2, group(spec.VFGroup{Trust: on(true)})), steps: []string{"vf0/vf-trust", "vf1/vf-trust"}},
		"one attribute, next":   {p: stagePort(2, group(spec.VFGroup{Trust: on(true), Rate: &spec.Rate{Max: 5}})), steps: []string{"vf0/vf-trust", "vf1/vf-trust", "vf0/vf-rate", "vf1/vf-rate"}},
		"new VF as wanted":      {p: stagePort(2, group(spec.VFGroup{Trust: on(false)})), m: made{by: numVFs2}},
		"new VF, not known":     {p: stagePort(2, group(spec.VFGroup{SpoofCheck: on(true)})), m: made{by: numVFs2}, steps: []string{"vf0/vf-spoof-check <numvfs=2", "vf1/vf-spoof-check <numvfs=2"}},
		"address of a bound VF": {p: stagePort(2, group(stable)), steps: []string{"vf0/vf-mac", "vf1/vf-mac"}, rebinds: 2},
		"address of a new VF":   {p: stagePort(2, group(stable)), m: made{by: numVFs2, cold: true}, steps: []string{"vf0/vf-mac <numvfs=2", "vf1/vf-mac <numvfs=2"}},
		"held":                  {p: stagePort(2, group(spec.VFGroup{Trust: on(true)}), 0), steps: []string{"vf1/vf-trust"}, found: []findingKind{postponed}},
		"the driver cannot":     {p: stagePort(2, group(spec.VFGroup{LinkState: spec.LinkStateEnable})), found: []findingKind{cannot, cannot}},
		"underivable": {p: stagePort(2, func(pf *inventory.PF, e *spec.PhysicalFunction) {
			group(stable)(pf, e)
			pf.Netdevs[0].PermMAC = ""
		}), found: []findingKind{underivable, underivable}},
		"nothing reported": {p: stagePort(1, func(pf *inventory.PF, e *spec.PhysicalFunction) {
			group(spec.VFGroup{Trust: on(true)})(pf, e)
			pf.VFs[0].Admin = nil
		}), found: []findingKind{unseen}},
	} {
		t.Run(name, func(t *testing.T) {
			unbound, _, _ := c.p.unbind(made{}, c.p.gather(c.m))
			vfs, y := c.p.attribute(unbound)
			checkSteps(t, y.steps, c.steps...)
			rebinds := 0
			for _, v := range vfs {
				if v.rebind != "" {
					rebinds++
				}
				if len(v.refused) > 0 != slices.ContainsFunc(y.found, func(f finding) bool { return f.kind <= answered && f.vf == v.index }) {
					t.Errorf("VF %d is refused %q", v.index, v.refused)
				}
			}
			if rebinds != c.rebinds {
				t.Errorf("%d VFs to bind again, want %d", rebinds, c.rebinds)
			}
			var kinds []findingKind
			for i, f := range y.found {
				if kinds = append(kinds, f.kind); f.vf != i {
					t.Errorf("finding %d is about VF %d", i, f.vf)
				}
			}
			if !slices.Equal(kinds, c.found) {
				t.Errorf("found %+v", y.found)
			}
		})
	}
}

func TestBind(t *testing.T) {
	vfio := func(_ *inventory.PF, e *spec.PhysicalFunction) {
		e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0}, Driver: spec.DriverVFIO}}
	}
	for name, c := range map[string]struct {
		p     *port
		m     made
		mode  string
		again bool // VF 1's driver must be bound again, after the step "address"
		steps []string
	}{
		"right":     {p: stagePort(2, nothing)},
		"partition": {p: stagePort(2, vfio), steps: []string{"vf0/vf-unbind", "vf0/vf-override <vf0/vf-unbind", "vf0/vf-probe <vf0/vf-unbind <vf0/vf-override"}},
		"held":      {p: stagePort(2, vfio, 0), steps: []string{"vf0/vf-unbind waits", "vf0/vf-override <vf0/vf-unbind", "vf0/vf-probe <vf0/vf-unbind <vf0/vf-override"}},
		"made cold": {p: stagePort(2, vfio), m: made{by: numVFs2, cold: true}, steps: []string{
			"vf0/vf-override <numvfs=2", "autoprobe=1 <numvfs=2 <vf0/vf-override", "vf0/vf-probe <vf0/vf-override <numvfs=2", "vf1/vf-probe <numvfs=2 <autoprobe=1"}},
		"after the mode": {p: stagePort(1, nothing), m: made{by: numVFs2, cold: true}, mode: "mode", steps: []string{
			"autoprobe=1 <numvfs=2", "vf0/vf-probe <numvfs=2 <mode <autoprobe=1"}},
		"again": {p: stagePort(2, nothing), again: true, steps: []string{"vf1/vf-unbind <address", "vf1/vf-probe <vf1/vf-unbind"}},
		"not loaded": {p: stagePort(1, func(pf *inventory.PF, e *spec.PhysicalFunction) {
			e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0}, Driver: spec.DriverUIOPCIGeneric}}
		}), steps: []string{"autoprobe=0"}},
		"somebody else's": {p: stagePort(2, func(pf *inventory.PF, e *spec.PhysicalFunction) {
			vfio(pf, e)
			e.ExternallyManaged, pf.AutoProbe = true, false
			pf.VFs[1].Driver = "vfio-pci"
		}), steps: []string{"vf0/vf-unbind", "vf0/vf-override <vf0/vf-unbind", "vf0/vf-probe <vf0/vf-unbind <vf0/vf-override"}},
	} {
		t.Run(name, func(t *testing.T) {
			var in []attributed
			for _, v := range c.p.gather(c.m) {
				in = append(in, attributed{unboundVF: unboundVF{vf: v}})
			}
			if c.again {
				in[1].rebind, in[1].addresses = "because", []string{"address"}
			}
			vfs, y := c.p.bind(c.m, c.mode, in)
			if name == "not loaded" {
				if len(y.found) == 0 || y.found[0].about != (about{kind: missing, driver: "uio_pci_generic"}) {
					t.Errorf("found %+v", y.found)
				}
			}
			checkSteps(t, y.steps, c.steps...)
			for _, v := range vfs {
				probe := c.p.vfID(v.index, op.KindVFProbe)
				planned := false
				for i := range y.steps {
					planned = planned || y.steps[i].ID == probe
				}
				if planned != (v.probe == probe) {
					t.Errorf("VF %d is bound by %q", v.index, v.probe)
				}
			}
		})
	}
}

// TestAwaitAndSettle: VFs whose driver waits for a pod are awaited by themselves;
// what comes after is planned for VFs with an interface alone.
func TestAwaitAndSettle(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	p := stagePort(4, func(_ *inventory.PF, e *spec.PhysicalFunction) {
		e.MTU = on(9000)
		e.VirtualFunctions = []spec.VFGroup{
			{Indexes: spec.IndexSet{0, 1}, MACAddresses: spec.MACPolicy{Mode: spec.MACList, List: []net.HardwareAddr{mac, mac}}},
			{Indexes: spec.IndexSet{2}, Driver: spec.DriverVFIO},
		}
	})
	var in []boundVF
	for _, v := range p.gather(made{}) {
		in = append(in, boundVF{attributed: attributed{unboundVF: unboundVF{vf: v}}})
	}
	in[0].probe, in[1].probe, in[2].probe = "p0", "p1", "p2"
	in[0].addresses = []string{"a0"}
	in[1].refused = []string{keyMAC}
	vfs, y := p.await(made{}, in, map[string]string{"p1": "u1"})
	checkSteps(t, y.steps, "vf1/await-netdev <p1", "await-netdev")
	if d := cmp.Diff([]int{0}, y.steps[1].Op.VFs()); d != "" {
		t.Errorf("awaited together: %s", d)
	}
	var ready []int
	for _, v := range vfs {
		ready = append(ready, v.index)
		if v.again != (v.index < 2) {
			t.Errorf("VF %d is bound again: %v", v.index, v.again)
		}
	}
	if d := cmp.Diff([]int{0, 1, 3}, ready); d != "" {
		t.Errorf("VFs with an interface: %s", d)
	}
	y = p.settle(vfs)
	checkSteps(t, y.steps, "vf0/await-address <p0 <a0", "vf0/vf-mtu <p0", "vf1/vf-mtu <p1", "vf3/vf-mtu")
}

func TestVDPA(t *testing.T) {
	own := op.VDPAName("0000:21:10.0")
	for name, c := range map[string]struct {
		want    spec.VDPAType
		now     *inventory.VDPADevice
		again   bool
		steps   []string
		refused bool
	}{
		"none":                {},
		"made":                {want: spec.VDPAVhost, steps: []string{"vf0/vdpa-add <ready", "vf0/vdpa-driver <ready <vf0/vdpa-add"}},
		"bound":               {want: spec.VDPAVhost, now: &inventory.VDPADevice{Name: own}, steps: []string{"vf0/vdpa-driver <ready"}},
		"as it is":            {want: spec.VDPAVhost, now: &inventory.VDPADevice{Name: own, Driver: "vhost_vdpa"}},
		"gone with the bind":  {want: spec.VDPAVhost, now: &inventory.VDPADevice{Name: own, Driver: "vhost_vdpa"}, again: true, steps: []string{"vf0/vdpa-add <ready", "vf0/vdpa-driver <ready <vf0/vdpa-add"}},
		"ours goes":           {now: &inventory.VDPADevice{Name: own}, steps: []string{"vf0/vdpa-del <ready"}},
		"somebody's stays":    {now: &inventory.VDPADevice{Name: "theirs"}},
		"refused, not bound":  {want: spec.VDPAVhost, refused: true},
		"refused, other name": {want: spec.VDPAVirtio, now: &inventory.VDPADevice{Name: own, Driver: "vhost_vdpa"}, steps: []string{"vf0/vdpa-driver <ready"}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := stagePort(1, func(pf *inventory.PF, e *spec.PhysicalFunction) {
				pf.VFs[0].VDPA = c.now
				e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0}, VDPA: c.want}}
			})
			if c.refused {
				p.record.Refused = map[string]record.Refusal{p.vfID(0, op.KindVDPAAdd): {Value: own, Answer: "EOPNOTSUPP"}}
			}
			y := p.settle([]awaited{{vf: p.gather(made{})[0], again: c.again, needs: []string{"ready"}}})
			checkSteps(t, y.steps, c.steps...)
			if (len(y.found) > 0 && y.found[0].kind == answered) != (c.refused && c.now == nil) {
				t.Errorf("found %+v", y.found)
			}
		})
	}
}

// TestResetBySetting: each setting is brought back only while it has the value that we gave
// it, and VFs of somebody else stay.
func TestResetBySetting(t *testing.T) {
	ours := map[record.Setting][]string{
		record.NumVFs: {"2"}, record.AutoProbe: {"0"}, record.MTU: {"9000"}, record.EswitchMode: {"switchdev"},
	}
	was := record.Made{AutoProbe: true, MTU: 1500, EswitchMode: "legacy"}
	for name, c := range map[string]struct {
		wrote map[record.Setting][]string
		over  map[int]string
		steps []string
	}{
		"all ours": {wrote: ours, steps: []string{
			"numvfs=0", "eswitch-mode=legacy <numvfs=0", "autoprobe=1 <numvfs=0", "mtu <numvfs=0"}},
		"nothing ours": {},
		"VFs stay": {
			wrote: map[record.Setting][]string{record.MTU: {"9000"}, record.EswitchMode: {"switchdev"}}, over: map[int]string{1: "vfio-pci"},
			steps: []string{"vf1/vf-unbind", "vf1/vf-override <vf1/vf-unbind", "vf1/vf-probe <vf1/vf-unbind <vf1/vf-override", "vf0/vf-mtu", "mtu"},
		},
		"another value now": {wrote: map[record.Setting][]string{record.NumVFs: {"5"}, record.MTU: {"4000"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := stagePort(2, func(pf *inventory.PF, _ *spec.PhysicalFunction) {
				pf.AutoProbe, pf.EswitchMode, pf.Netdevs[0].MTU = false, "switchdev", 9000
				pf.VFs[0].Netdevs[0].MTU = 9000
				pf.VFs[1].Driver, pf.VFs[1].DriverOverride, pf.VFs[1].Netdevs = "vfio-pci", "vfio-pci", nil
			})
			made := was
			made.Wrote, made.Overrides = c.wrote, c.over
			p.record.Made = &made
			checkSteps(t, p.resetSteps(), c.steps...)
		})
	}
}

package plan

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

// TestDriverNotLoaded: the kernel's own driver udev loads where the node has it, so what
// is still missing may be missing in the node's image; others a line of the machine config
// loads. Either comes within seconds of an early start.
func TestDriverNotLoaded(t *testing.T) {
	const line = "add its module to the machine config (kernel.modules: - name: "
	for name, c := range map[string]struct {
		driver spec.Driver
		now    string // the driver that the VF has
		msg    string
		image  bool
		hint   string
	}{
		"default":                {msg: "the driver igbvf is not loaded", image: true, hint: "else " + line + "igbvf)"},
		"default, on another":    {now: "vfio-pci", msg: "the driver igbvf is not loaded", image: true, hint: "else " + line + "igbvf)"},
		"vfio-pci":               {driver: spec.DriverVFIO, msg: "the driver vfio-pci is not loaded", hint: line + "vfio_pci)"},
		"uio_pci_generic, bound": {driver: spec.DriverUIOPCIGeneric, now: "igbvf", msg: "the driver uio_pci_generic is not loaded", hint: line + "uio_pci_generic)"},
	} {
		p := stagePort(1, func(pf *inventory.PF, e *spec.PhysicalFunction) {
			pf.VFs[0].Driver = c.now
			e.VirtualFunctions = []spec.VFGroup{{Indexes: spec.IndexSet{0}, Driver: c.driver}}
		})
		p.in.Snapshot.PCIDrivers = []string{"igb"}
		var in []attributed
		for _, v := range p.gather(made{}) {
			in = append(in, attributed{unboundVF: unboundVF{vf: v}})
		}
		_, y := p.bind(made{}, "", in)
		w := &work{port: *p}
		w.report(&y)
		if len(w.out.Problems) != 1 {
			t.Errorf("%s: %+v", name, w.out.Problems)
			continue
		}
		pr := w.out.Problems[0]
		if pr.Msg != c.msg || !pr.Pending || !pr.Settling || !strings.HasSuffix(pr.Hint, c.hint) || strings.Contains(pr.Hint, "the node's image may lack") != c.image {
			t.Errorf("%s: %+v", name, pr)
		}
	}
}

// TestEvidenceThatComes: a driver and its interface come within seconds, and so does the
// time for which a port is seen; a cable and the end of an address do not.
func TestEvidenceThatComes(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(pf *inventory.PF, n *inventory.NetworkAnswers)
		settling bool
	}{
		"not seen for long enough": {func(*inventory.PF, *inventory.NetworkAnswers) {}, true},
		"no driver":                {func(pf *inventory.PF, _ *inventory.NetworkAnswers) { pf.Netdevs, pf.Driver = nil, "" }, true},
		"no interface":             {func(pf *inventory.PF, _ *inventory.NetworkAnswers) { pf.Netdevs = nil }, true},
		"not listed yet":           {func(pf *inventory.PF, _ *inventory.NetworkAnswers) { pf.Unlisted = "enp33s0" }, true},
		"no link":                  {func(pf *inventory.PF, _ *inventory.NetworkAnswers) { pf.Netdevs[0].Carrier = false }, false},
		"down":                     {func(pf *inventory.PF, _ *inventory.NetworkAnswers) { pf.Netdevs[0].AdminUp = false }, false},
		"a bond":                   {func(pf *inventory.PF, _ *inventory.NetworkAnswers) { pf.Upper = "bond0" }, false},
		"no answer":                {func(_ *inventory.PF, n *inventory.NetworkAnswers) { n.Complete = false }, false},
		"the kernel hangs":         {func(pf *inventory.PF, _ *inventory.NetworkAnswers) { pf.Silent = "sriov_numvfs" }, false},
	} {
		p := stagePort(0, nothing)
		p.in.Snapshot.Network.Complete = true
		c.change(p.pf, &p.in.Snapshot.Network)
		w := &work{port: *p}
		if pr := w.unproven(""); !pr.Pending || pr.Settling != c.settling {
			t.Errorf("%s: %+v", name, pr)
		}
	}
}

// TestPFWithoutDriver: what the PF's own driver brings comes within seconds too.
func TestPFWithoutDriver(t *testing.T) {
	two := 2
	for name, change := range map[string]func(*inventory.PF, *spec.PhysicalFunction){
		"VFs":             func(pf *inventory.PF, e *spec.PhysicalFunction) { pf.Driver, e.NumVFs = "", &two },
		"an MTU":          func(pf *inventory.PF, e *spec.PhysicalFunction) { pf.Netdevs, e.MTU = nil, on(9000) },
		"a VF's settings": nil,
	} {
		p := stagePort(0, nothing)
		if change != nil {
			change(p.pf, p.entry)
		}
		w := &work{port: *p}
		w.possible()
		if change == nil {
			pr, _ := w.says(&finding{about: about{kind: noInterface}})
			w.problem(pr)
		}
		if len(w.out.Problems) != 1 || !w.out.Problems[0].Pending || !w.out.Problems[0].Settling {
			t.Errorf("%s: %+v", name, w.out.Problems)
		}
	}
}

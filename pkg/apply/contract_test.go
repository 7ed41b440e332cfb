package apply_test

import (
	"net"
	"reflect"
	"slices"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// contract has a row for each type of operation: what has to be done before it on
// the ConnectX-7 of newNode, and whether the kernel reports what it sets.
var contract = []struct {
	before []op.Op
	op     op.Op
	silent bool // the kernel reports nothing of it
}{
	{op: op.SetNumVFs{OnPF: cx, N: 3}},
	{before: vfs, op: op.SetNumVFs{OnPF: cx, Destroys: []int{0, 1}}},
	{op: op.SetAutoProbe{OnPF: cx}},
	{op: op.SetEswitchMode{OnPF: cx, Mode: "switchdev"}},
	{op: op.SetSteeringMode{OnPF: cx, Mode: "smfs"}, silent: true},
	{before: []op.Op{switchdev}, op: op.SetTCOffload{OnPF: cx, On: true}},
	{op: op.SetMTU{OnPF: cx, Netdev: cx.Name, MTU: 9000}},
	{op: op.SetPFUp{OnPF: cx}},
	{before: vfs, op: op.SetVFMAC{Attribute: set(cxVF, op.MAC(mac))}},
	{before: vfs, op: op.SetVFNodeGUID{Attribute: set(cxVF, op.GUID{2, 0, 0, 0, 0, 0, 0, 9})}},
	{before: vfs, op: op.SetVFPortGUID{Attribute: set(cxVF, op.GUID{2, 0, 0, 0, 0, 0, 0, 9})}},
	{before: vfs, op: op.SetVFVLAN{Attribute: set(cxVF, op.VLAN{ID: 100, QoS: 2})}},
	{before: vfs, op: op.SetVFVLAN{Attribute: set(cxVF, op.VLAN{ID: 100, Protocol: op.Protocol8021AD})}},
	{before: vfs, op: op.SetVFTrust{Attribute: set(cxVF, op.Switch(true))}},
	{before: vfs, op: op.SetVFSpoofCheck{Attribute: set(cxVF, op.Switch(false))}},
	{before: []op.Op{op.SetNumVFs{OnPF: ix, N: 2}}, op: op.SetVFQueryRSS{Attribute: set(op.OnVF{OnPF: ix, Index: 1}, op.Switch(true))}},
	{before: vfs, op: op.SetVFLinkState{Attribute: set(cxVF, op.LinkState("enable"))}},
	{before: vfs, op: op.SetVFLinkState{Attribute: set(cxVF, op.LinkState("disable"))}},
	{before: vfs, op: op.SetVFRate{Attribute: set(cxVF, op.Rate{Min: 10, Max: 200})}},
	{before: vfs, op: op.UnbindVF{OnVF: cxVF, Driver: "mlx5_core"}},
	{before: vfs, op: op.SetDriverOverride{OnVF: cxVF, Driver: "vfio-pci"}},
	{before: append(vfs, op.SetDriverOverride{OnVF: cxVF, Driver: "vfio-pci"}), op: op.SetDriverOverride{OnVF: cxVF}},
	{before: append(vfs, op.UnbindVF{OnVF: cxVF, Driver: "mlx5_core"}), op: op.ProbeVF{OnVF: cxVF, Driver: "mlx5_core"}},
	{before: vfs, op: op.SetVFMTU{OnVF: cxVF, MTU: 1400}},
	{before: offloaded, op: op.AddVDPA{OnVF: cxVF}},
	{before: offloaded, op: op.AddVDPA{OnVF: cxVF, VFAddress: vfAddress}},
	{before: append(offloaded, vdpa), op: op.DeleteVDPA{OnVF: cxVF, Device: "vdpa:" + vfAddress}},
	{before: append(offloaded, vdpa), op: op.BindVDPA{OnVF: cxVF, Driver: "vhost_vdpa"}},
	{before: append(offloaded, vdpa, op.BindVDPA{OnVF: cxVF, Driver: "virtio_vdpa"}), op: op.BindVDPA{OnVF: cxVF, Driver: "vhost_vdpa"}},
	{before: vfs, op: op.AwaitNetdevs{OnPF: cx, Indexes: []int{0, 1}}, silent: true},
	{before: cold, op: op.AwaitVFAddress{OnVF: cxVF, MAC: op.MAC(mac)}},
	{before: vfs, op: op.AwaitVFRDMA{OnVF: cxVF}, silent: true},
}

func set[V op.Value](vf op.OnVF, to V) op.Attribute[V] { return op.Attribute[V]{OnVF: vf, To: to} }

const vfAddress = "0000:01:00.3" // of VF 1

var (
	cx        = op.OnPF{Address: mlx, Name: "enp1s0f0np0"}
	ix        = op.OnPF{Address: "0000:81:00.0", Name: "enp129s0"}
	cxVF      = op.OnVF{OnPF: cx, Index: 1}
	mac       = net.HardwareAddr{2, 0, 0, 0, 0, 0x21}
	vfs       = slices.Clip([]op.Op{op.SetNumVFs{OnPF: cx, N: 2}})
	switchdev = op.SetEswitchMode{OnPF: cx, Mode: "switchdev"}
	vdpa      = op.AddVDPA{OnVF: cxVF}
	offloaded = slices.Clip([]op.Op{switchdev, vfs[0]})
	// cold has VF 1 bound after it got its address.
	cold = []op.Op{
		op.SetAutoProbe{OnPF: cx}, vfs[0], op.SetVFMAC{Attribute: set(cxVF, op.MAC(mac))}, op.SetAutoProbe{OnPF: cx, On: true}, op.ProbeVF{OnVF: cxVF},
	}
)

// TestWhatIsWrittenReadsBack is the contract of operations: each, carried out on the
// kernel, reads back in the next snapshot what it wants, and did not before.
func TestWhatIsWrittenReadsBack(t *testing.T) {
	seen := map[reflect.Type]bool{}
	for _, c := range contract {
		seen[reflect.TypeOf(c.op)] = true
		t.Run(string(c.op.Kind())+"="+op.Text(c.op.Want()), func(t *testing.T) {
			n := newNode(nil)
			n.k.AddPF(modelkernel.PF{Address: ix.Address, Vendor: "8086", Device: "10fb", VFDevice: "10ed", Driver: "ixgbe", Total: 8, Name: ix.Name, MAC: "90:e2:ba:00:00:01", Offset: 128, Stride: 2})
			n.k.LoadVDPA("vhost_vdpa")
			n.k.LoadVDPA("virtio_vdpa")
			if err := n.k.SetUp(t.Context(), n.link(t, mlx), c.op.Kind() != op.KindPFUp); err != nil {
				t.Fatal(err)
			}
			run := func(ops ...op.Op) {
				t.Helper()
				p := &plan.Plan{PFs: []plan.PFPlan{{Address: c.op.PF()}}}
				for i, o := range ops {
					p.PFs[0].Steps = append(p.PFs[0].Steps, plan.Step{ID: string(o.Kind()) + string(rune('a'+i)), Op: o})
				}
				rep := n.a.Run(t.Context(), p).PFs[0]
				if rep.Err != nil || len(rep.Done) != len(ops) || len(rep.Problems) > 0 {
					t.Fatalf("%+v", rep)
				}
			}
			run(c.before...)
			before, known := c.op.Read(n.k.Snapshot().PF(c.op.PF()))
			if known && c.op.Writes() && before.Equal(c.op.Want()) {
				t.Fatalf("it reads %v before: the row shows nothing", before)
			}
			writes := len(n.k.Writes())
			run(c.op)
			if wrote := len(n.k.Writes()) > writes; wrote != c.op.Writes() {
				t.Errorf("writes %v, says %v", wrote, c.op.Writes())
			}
			got, ok := c.op.Read(n.k.Snapshot().PF(c.op.PF()))
			switch {
			case ok == c.silent:
				t.Errorf("reported: %v", ok)
			case ok && !op.Equal(got, c.op.Want()):
				t.Errorf("reads %v (%T), want %v (%T)", got, got, c.op.Want(), c.op.Want())
			}
		})
	}
	for _, o := range op.All() {
		if !seen[reflect.TypeOf(o)] {
			t.Errorf("%T has no row", o)
		}
	}
}

package op_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/op"
)

var (
	onPF = op.OnPF{Address: "0000:01:00.0", Name: "enp1s0f0"}
	onVF = op.OnVF{OnPF: onPF, Index: 3}
	mac  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	guid = net.HardwareAddr{2, 0, 0, 0, 0, 0, 0, 1}
)

func from[V op.Value](was op.Value, to V) op.Attribute[V] {
	return op.Attribute[V]{OnVF: onVF, Found: op.Found{Was: was}, To: to}
}

// examples has a row for each type: how it reads to people, and what is on disk of
// it (kind and values).
var examples = []struct {
	op   op.Op
	text string // kind, VFs, object: from -> want
}{
	{op.SetNumVFs{OnPF: onPF, Found: op.Found{Was: op.Count(0)}, N: 2}, "numvfs [0 1] /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs: 0 -> 2"},
	{op.SetNumVFs{OnPF: onPF, Found: op.Found{Was: op.Count(3)}, Destroys: []int{0, 1, 2}}, "numvfs [0 1 2] /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs: 3 -> 0"},
	{op.SetAutoProbe{OnPF: onPF, Found: op.Found{Was: op.Flag(true)}}, "autoprobe [] /sys/bus/pci/devices/0000:01:00.0/sriov_drivers_autoprobe: 1 -> 0"},
	{op.SetEswitchMode{OnPF: onPF, Found: op.Found{Was: op.EswitchMode("legacy")}, Mode: "switchdev"}, "eswitch-mode [] devlink pci/0000:01:00.0 eswitch mode: legacy -> switchdev"},
	{op.SetSteeringMode{OnPF: onPF, Mode: "smfs"}, "steering-mode [] devlink pci/0000:01:00.0 param flow_steering_mode:  -> smfs"},
	{op.SetTCOffload{OnPF: onPF, On: true}, "hw-tc-offload [] ethtool enp1s0f0 hw-tc-offload:  -> on"},
	{op.SetMTU{OnPF: onPF, Found: op.Found{Was: op.MTU(1500)}, Netdev: "enp1s0f0d1", MTU: 9000}, "mtu [] /sys/class/net/enp1s0f0d1/mtu: 1500 -> 9000"},
	{op.SetPFUp{OnPF: onPF, Found: op.Found{Was: op.AdminUp(false)}}, "link-up [] netlink enp1s0f0: down -> up"},
	{op.SetVFMAC{Attribute: from(nil, op.MAC(mac))}, "vf-mac [3] netlink enp1s0f0 vf 3 mac:  -> 02:00:00:00:00:01"},
	{op.SetVFNodeGUID{Attribute: from(nil, op.GUID(guid))}, "vf-node-guid [3] netlink enp1s0f0 vf 3 node_guid:  -> 02:00:00:00:00:00:00:01"},
	{op.SetVFPortGUID{Attribute: from(nil, op.GUID(guid))}, "vf-port-guid [3] netlink enp1s0f0 vf 3 port_guid:  -> 02:00:00:00:00:00:00:01"},
	{op.SetVFVLAN{Attribute: from(op.VLAN{}, op.VLAN{ID: 100, QoS: 2, Protocol: op.Protocol8021AD})}, "vf-vlan [3] netlink enp1s0f0 vf 3 vlan: 0 0 802.1q -> 100 2 802.1ad"},
	{op.SetVFTrust{Attribute: from(op.Switch(false), op.Switch(true))}, "vf-trust [3] netlink enp1s0f0 vf 3 trust: off -> on"},
	{op.SetVFSpoofCheck{Attribute: from(op.Switch(true), op.Switch(false))}, "vf-spoof-check [3] netlink enp1s0f0 vf 3 spoofchk: on -> off"},
	{op.SetVFQueryRSS{Attribute: from(op.Switch(false), op.Switch(true))}, "vf-query-rss [3] netlink enp1s0f0 vf 3 query_rss: off -> on"},
	{op.SetVFLinkState{Attribute: from(op.LinkState("auto"), op.LinkState("enable"))}, "vf-link-state [3] netlink enp1s0f0 vf 3 state: auto -> enable"},
	{op.SetVFRate{Attribute: from(op.Rate{}, op.Rate{Min: 10, Max: 200})}, "vf-rate [3] netlink enp1s0f0 vf 3 rate: 0 0 -> 10 200"},
	{op.UnbindVF{OnVF: onVF, Driver: "igbvf"}, "vf-unbind [3] /sys/bus/pci/drivers/igbvf/unbind: igbvf -> "},
	{op.SetDriverOverride{OnVF: onVF, Driver: "vfio-pci"}, "vf-override [3] /sys/bus/pci/devices/0000:01:00.0/virtfn3/driver_override:  -> vfio-pci"},
	{op.ProbeVF{OnVF: onVF, Driver: "vfio-pci"}, "vf-probe [3] /sys/bus/pci/drivers_probe:  -> vfio-pci"},
	{op.ProbeVF{OnVF: onVF}, "vf-probe [3] /sys/bus/pci/drivers_probe:  -> "},
	{op.SetVFMTU{OnVF: onVF, Found: op.Found{Was: op.MTU(1500)}, MTU: 9000}, "vf-mtu [3] /sys/bus/pci/devices/0000:01:00.0/virtfn3/net/*/mtu: 1500 -> 9000"},
	{op.SetVFMTU{OnVF: onVF, Netdev: "enp1s0f0v3", MTU: 9000}, "vf-mtu [3] /sys/class/net/enp1s0f0v3/mtu:  -> 9000"},
	{op.AddVDPA{OnVF: onVF}, "vdpa-add [3] netlink vdpa:  -> vdpa:<VF 3>"},
	{op.AddVDPA{OnVF: onVF, VFAddress: "0000:01:00.5"}, "vdpa-add [3] netlink vdpa:  -> vdpa:0000:01:00.5"},
	{op.DeleteVDPA{OnVF: onVF, Device: "vdpa:0000:01:00.5"}, "vdpa-del [3] netlink vdpa vdpa:0000:01:00.5: vdpa:0000:01:00.5 -> "},
	{op.BindVDPA{OnVF: onVF, Driver: "vhost_vdpa"}, "vdpa-driver [3] /sys/bus/vdpa/drivers/vhost_vdpa/bind:  -> vhost_vdpa"},
	{op.AwaitNetdevs{OnPF: onPF, Indexes: []int{0, 3}}, "await-netdev [0 3] /sys/bus/pci/devices/0000:01:00.0/virtfn*/net:  -> "},
	{op.AwaitVFAddress{OnVF: onVF, MAC: op.MAC(mac)}, "await-address [3] /sys/bus/pci/devices/0000:01:00.0/virtfn3/net/*/address:  -> 02:00:00:00:00:01"},
	{op.AwaitVFRDMA{OnVF: onVF}, "await-rdma [3] /sys/bus/pci/devices/0000:01:00.0/virtfn3/infiniband:  -> "},
}

func TestEveryOperation(t *testing.T) {
	shown := map[reflect.Type]bool{}
	for _, e := range examples {
		o := e.op
		got := fmt.Sprintf("%s %v %s: %s -> %s", o.Kind(), o.VFs(), o.Object(), op.Text(o.From()), op.Text(o.Want()))
		if d := cmp.Diff(e.text, got); d != "" {
			t.Errorf("%T: %s", o, d)
		}
		if o.PF() != onPF.Address {
			t.Errorf("%T is about PF %q", o, o.PF())
		}
		if waits := strings.HasPrefix(string(o.Kind()), "await-"); o.Writes() == waits {
			t.Errorf("%T: Writes() = %v", o, o.Writes())
		}
		shown[reflect.TypeOf(o)] = true
	}
	kinds := map[op.Kind]op.Op{}
	var all []string
	for _, o := range op.All() {
		if !shown[reflect.TypeOf(o)] {
			t.Errorf("%T has no example", o)
		}
		if other := kinds[o.Kind()]; other != nil || o.Kind() == "" {
			t.Errorf("%T and %T are both of kind %q", o, other, o.Kind())
		}
		kinds[o.Kind()] = o
		all = append(all, reflect.TypeOf(o).Name())
	}
	slices.Sort(all)
	if d := cmp.Diff(declared(t), all); d != "" {
		t.Errorf("All does not have each operation once (-declared +All):\n%s", d)
	}
}

// declared are the operations of the package's source: what has a Kind.
func declared(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.Name == "Kind" {
				out = append(out, fn.Recv.List[0].Type.(*ast.Ident).Name) //nolint:errcheck,forcetypeassert // a test
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestValues: values of one type are compared by what they mean, and those of two
// types never are the same.
func TestValues(t *testing.T) {
	for _, c := range []struct {
		a, b  op.Value
		equal bool
	}{
		{op.VLAN{}, op.VLAN{QoS: 3, Protocol: op.Protocol8021AD}, true}, // no tag is no tag
		{op.VLAN{ID: 5}, op.VLAN{ID: 5, Protocol: op.Protocol8021Q}, true},
		{op.VLAN{ID: 5}, op.VLAN{ID: 5, Protocol: op.Protocol8021AD}, false},
		{op.VLAN{ID: 5}, op.VLAN{ID: 5, QoS: 1}, false},
		{op.MAC(mac), op.MAC(slices.Clone(mac)), true},
		{op.MAC(mac), op.MAC{2, 0, 0, 0, 0, 2}, false},
		{op.MAC(guid), op.GUID(guid), false},
		{op.Rate{Max: 5}, op.Rate{Max: 5}, true},
		{op.Rate{Max: 5}, op.Rate{Min: 5}, false},
		{op.Switch(true), op.Flag(true), false},
		{op.MTU(2), op.Count(2), false},
		{op.Driver(""), nil, false},
		{nil, nil, true},
		{op.VDPAOf{Index: 1, Address: "0000:01:00.5"}, op.VDPADevice("vdpa:0000:01:00.5"), true},
		{op.VDPAOf{Index: 1, Address: "0000:01:00.5"}, op.VDPAOf{Index: 1}, true},
		{op.VDPAOf{Index: 1, Address: "0000:01:00.5"}, op.VDPAOf{Index: 1, Address: "0000:01:00.6"}, false},
		{op.VDPAOf{Index: 1}, op.VDPAOf{Index: 2}, false},
		{op.VDPAOf{Index: 1}, op.VDPADevice(""), false},
	} {
		if got, back := op.Equal(c.a, c.b), op.Equal(c.b, c.a); got != c.equal || back != c.equal {
			t.Errorf("Equal(%T %v, %T %v) = %v, and %v the other way", c.a, c.a, c.b, c.b, got, back)
		}
	}
}

// TestReadOfWhatIsNotThere: what a snapshot does not show is not reported, and
// never a zero value.
func TestReadOfWhatIsNotThere(t *testing.T) {
	pf := &inventory.PF{Function: inventory.Function{Address: onPF.Address}}
	for _, e := range examples {
		switch e.op.(type) {
		case op.SetNumVFs, op.SetAutoProbe: // every PF has these
			continue
		}
		if v, ok := e.op.Read(pf); ok {
			t.Errorf("%T of a PF without anything reads %v", e.op, v)
		}
	}
	pf.VFs = []inventory.VF{{Index: 3, Admin: &inventory.VFAdmin{Unreported: []string{"trust", "spoofCheck"}}}}
	for _, o := range []op.Op{
		op.SetVFTrust{Attribute: from(nil, op.Switch(false))}, op.SetVFSpoofCheck{Attribute: from(nil, op.Switch(false))}, op.SetVFMAC{Attribute: from(nil, op.MAC(nil))},
		op.SetVFLinkState{Attribute: from(nil, op.LinkState(""))}, op.SetVFNodeGUID{Attribute: from(nil, op.GUID(nil))}, op.BindVDPA{OnVF: onVF}, op.SetVFMTU{OnVF: onVF},
	} {
		if v, ok := o.Read(pf); ok {
			t.Errorf("%T reads %v, which the driver does not report", o, v)
		}
	}
}

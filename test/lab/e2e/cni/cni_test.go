package cni

import (
	"os"
	"strings"
	"testing"
)

// attributes are keys that igb knows.
const attributes = `"vlan":100,"vlanQoS":3,"mac":"02:00:00:00:00:aa","spoofchk":"off","trust":"on","max_tx_rate":100`

func want(t *testing.T, what, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("%s lacks %q:\n%s", what, p, got)
		}
	}
}

// A VF with every attribute that the driver knows goes into a namespace and
// comes back.
func TestAddCheckDel(t *testing.T) {
	begin(t, 2)
	before := machine(t)
	c := conf(0, attributes+`,"mtu":1400,"ipam":{"type":"host-local","dataDir":"/run/cni/ipam","ranges":[[{"subnet":"10.100.0.0/24"}]]}`)
	r := must(t, ours, "ADD", 0, c)
	if len(r.Interfaces) != 1 || len(r.IPs) != 1 || r.Interfaces[0].Mac != "02:00:00:00:00:aa" || r.Interfaces[0].Mtu != 1400 || !strings.HasPrefix(r.IPs[0].Address, "10.100.0.") {
		t.Errorf("result is %+v", r)
	}
	want(t, "the pod", sh(t, "ip netns exec a0 ip addr show dev net1"), "02:00:00:00:00:aa", "mtu 1400", r.IPs[0].Address, ",UP")
	want(t, "the PF", sh(t, "ip link show dev "+pfName), "vlan 100, qos 3", "spoof checking off", "trust on", "tx rate 100")
	must(t, ours, "CHECK", 0, c)
	sh(t, "ip link set "+pfName+" vf 0 vlan 7")
	if r := call(t, ours, "CHECK", 0, c); r.Code == 0 || !strings.Contains(r.Msg, "vlan of VF") {
		t.Errorf("CHECK missed another VLAN: %+v", r)
	}
	must(t, ours, "DEL", 0, c)
	if after := machine(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	must(t, ours, "DEL", 0, c)
}

// The namespace goes before DEL: the kernel returns the interface some time
// later as net1, with the pod's VLAN and MAC at the PF.
func TestNamespaceDiesBeforeDel(t *testing.T) {
	begin(t, 1)
	before := machine(t)
	c := conf(0, attributes)
	must(t, ours, "ADD", 0, c)
	sh(t, "ip netns del a0")
	must(t, ours, "DEL", 0, c)
	if after := machine(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// Two pods want one VF at once: one has it, the other gets an error with its name.
func TestTwoAddsAtOnce(t *testing.T) {
	begin(t, 2)
	c := conf(0, "")
	out := sh(t, "{ "+strings.TrimSuffix(command(ours, "ADD", 0, c), "\n")+"\n} >/run/cni/out0 & { "+
		strings.TrimSuffix(command(ours, "ADD", 1, c), "\n")+"\n} >/run/cni/out1 &\nwait; cat /run/cni/out0 /run/cni/out1")
	if strings.Count(out, "is already allocated by the network namespace") != 1 || strings.Count(out, `"interfaces"`) != 1 {
		t.Errorf("want one result and one refusal:\n%s", out)
	}
}

// Each of the two programs ends what the other began, with attributes set and
// without, with the namespace alive and gone.
func TestTakeOver(t *testing.T) {
	needUpstream(t)
	for _, tt := range []struct{ name, add, del, more string }{
		{"theirs then ours", theirs, ours, ""},
		{"theirs then ours, attributes", theirs, ours, attributes},
		{"ours then theirs", ours, theirs, ""},
		{"ours then theirs, attributes", ours, theirs, attributes},
		{"theirs alone", theirs, theirs, attributes}, // so that a failure above says something
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin(t, 2)
			before := machine(t)
			c := conf(0, tt.more)
			must(t, tt.add, "ADD", 0, c)
			if l := sh(t, "ip netns exec a0 ip link show dev net1"); tt.more != "" {
				want(t, "the pod", l, "02:00:00:00:00:aa")
			}
			// The other program must respect the allocation.
			if r := call(t, tt.del, "ADD", 1, c); !strings.Contains(r.Msg, "is already allocated") {
				t.Errorf("a second ADD by the other program: %+v", r)
			}
			must(t, tt.del, "DEL", 0, c)
			if after := machine(t); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
	t.Run("theirs then ours, namespace gone", func(t *testing.T) {
		begin(t, 1)
		before := machine(t)
		c := conf(0, attributes)
		must(t, theirs, "ADD", 0, c)
		sh(t, "ip netns del a0")
		must(t, ours, "DEL", 0, c)
		if after := machine(t); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// igb fixes the MAC of each VF that it makes, and refuses an untrusted VF's word
// about it.
func TestMACWithoutTrust(t *testing.T) {
	begin(t, 1)
	before := machine(t)
	c := conf(0, `"mac":"02:00:00:00:00:aa"`)
	must(t, ours, "ADD", 0, c)
	want(t, "the pod", sh(t, "ip netns exec a0 ip link show dev net1"), "02:00:00:00:00:aa")
	want(t, "the PF", sh(t, "ip link show dev "+pfName), "02:00:00:00:00:aa", "trust off")
	must(t, ours, "DEL", 0, c)
	if after := machine(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if os.Getenv("SRIOVCNI") != "" {
		t.Logf("sriov-cni's ADD: %+v", call(t, theirs, "ADD", 0, c))
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// caller runs the plugin as a runtime would: COMMAND CONTAINER NETNS, the
// configuration on standard input. It becomes the plugin, so that a signal to it
// is one to the plugin.
const caller = `export CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$3 CNI_IFNAME=net1 CNI_PATH=/opt/cni/bin:/var/lab/ipam
exec ownproc /opt/cni/bin/sriov`

// slowIPAM takes three seconds for the command that its file names, and says in
// another file that it was called.
const slowIPAM = `#!/usr/local/lib/containers/labagent/bin/busybox sh
cat >/dev/null
if [ "$CNI_COMMAND" = "$(cat /var/lab/ipam/slow-command)" ]; then touch /var/lab/ipam/called; sleep 3; fi
[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.1/24"}]}'`

// brokenIPAM has no address to give.
const brokenIPAM = `#!/usr/local/lib/containers/labagent/bin/busybox sh
cat >/dev/null
[ $CNI_COMMAND != ADD ] || { echo '{"cniVersion": "1.0.0", "code": 100, "msg": "no address left"}'; exit 1; }`

const hostLocal = `, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.102.0.0/24"}]]}`

// plugin is the CNI plugin on the node, driven without a runtime: the network
// namespaces are made by hand.
type plugin struct {
	*node_
	vf, host string // PCI address, and the interface's name on the host
}

// call makes one call. A failed one gives the plugin's error.
func (p plugin) call(command, container, netns, extra string) (string, error) {
	p.t.Helper()
	p.must(p.Put(p.ctx(), "/run/conf", 0o600, []byte(p.conf(extra))))
	return p.Exec(p.ctx(), fmt.Sprintf("sh /run/cni %s %s %s </run/conf", command, container, netns))
}

func (p plugin) conf(extra string) string {
	return fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "direct", "type": "sriov", "deviceID": %q%s}`, p.vf, extra)
}

func (p plugin) mustCall(command, container, netns, extra string) string {
	p.t.Helper()
	out, err := p.call(command, container, netns, extra)
	if err != nil {
		p.t.Fatalf("%s: %v", command, err)
	}
	return out
}

// The plugin against the kernel, by hand-made network namespaces: what a runtime
// does not do on purpose.
func TestCNIPlugin(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 2))
	n.allReady(1)
	n.allocatable(2)
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" })
	n.must(n.Put(n.ctx(), "/run/cni", 0o755, []byte(caller)))
	n.run("mkdir -p /var/lab/ipam; echo none >/var/lab/ipam/slow-command")
	n.must(n.Put(n.ctx(), "/var/lab/ipam/slow", 0o755, []byte(slowIPAM)))
	n.must(n.Put(n.ctx(), "/var/lab/ipam/broken", 0o755, []byte(brokenIPAM)))
	vf := n.discover(pfA)[0]
	all := plugin{n, vf.Address, vf.Netdevs[0].Name}
	before := n.run(machine)

	for _, tt := range []struct {
		name string
		run  func(plugin)
	}{
		{"attributes", plugin.attributes},
		{"fifty in sequence", plugin.fifty},
		{"netns deleted and no DEL", plugin.noDEL},
		{"two ADDs at once", plugin.twoADDs},
		{"slow IPAM at DEL", plugin.slowDEL},
		{"killed in ADD", plugin.killedADD},
		{"killed in DEL", plugin.killedDEL},
		{"GC", plugin.gc},
		{"refused", plugin.refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := all
			p.node_ = n.with(t)
			start := time.Now()
			tt.run(p)
			p.unchanged("afterwards", before)
			t.Logf("took %v", since(start))
		})
	}
}

// MAC, VLAN and MTU are in the pod, seen by CHECK, and back on the host at DEL,
// whatever the pod did.
func (p plugin) attributes() {
	const mac = "02:00:00:00:ab:e1"
	const extra = `, "mac": "02:00:00:00:AB:E1", "vlan": 1234, "vlanQoS": 3, "trust": "on"` + hostLocal
	p.run("ip link set " + p.host + " mtu 1450; ip netns add a")
	result := p.mustCall("ADD", "a", "a", extra)
	for _, want := range []string{mac, p.vf, `"mtu": 1450`, "10.102.0."} {
		if !strings.Contains(result, want) {
			p.t.Errorf("the result has no %s:\n%s", want, result)
		}
	}
	if out := p.run("ip -n a addr show net1"); !strings.Contains(out, mac) || !strings.Contains(out, "mtu 1450") ||
		!strings.Contains(out, "10.102.0.") || !strings.Contains(out, "UP") {
		p.t.Errorf("net1 is\n%s", out)
	}
	if a := p.node_.vf(pfA, p.vf).Admin; a.MAC != mac || a.VLAN != 1234 || a.QoS != 3 || !a.Trust {
		p.t.Errorf("the kernel has %+v", a)
	}
	prev := fmt.Sprintf(`%s, "prevResult": %s`, extra, result)
	p.mustCall("CHECK", "a", "a", prev)
	p.run("ip -n a link set net1 down; ip -n a link set net1 address 02:00:00:00:00:99; ip -n a link set net1 mtu 1300")
	if out, err := p.call("CHECK", "a", "a", prev); err == nil || !strings.Contains(fmt.Sprint(out, err), "net1 is down") {
		p.t.Errorf("CHECK of a changed interface: %s, %v", out, err)
	}
	p.mustCall("DEL", "a", "a", extra)
	if got := p.run("cat /sys/class/net/" + p.host + "/mtu"); got != "1450" {
		p.t.Errorf("MTU of %s is %s after DEL, want 1450", p.host, got)
	}
	p.mustCall("DEL", "a", "a", extra) // again
	p.run("ip netns del a; ip link set " + p.host + " mtu 1500")
}

func (p plugin) fifty() {
	p.must(p.Put(p.ctx(), "/run/conf", 0o600, []byte(p.conf(`, "vlan": 5, "trust": "on"`+hostLocal))))
	p.run(`for i in $(seq 50); do
	ip netns add f$i
	sh /run/cni ADD f$i f$i </run/conf >/run/out 2>&1 || { echo "ADD $i: $(cat /run/out)"; exit 1; }
	sh /run/cni DEL f$i f$i </run/conf >/run/out 2>&1 || { echo "DEL $i: $(cat /run/out)"; exit 1; }
	ip netns del f$i
done`)
}

// The runtime forgets DEL: the next pod gets the VF, and from it the host gets
// what was there before the first.
func (p plugin) noDEL() {
	const extra = `, "mac": "02:00:00:00:00:78", "vlan": 9, "mtu": 1300` + hostLocal
	p.run("ip netns add lost")
	p.mustCall("ADD", "lost", "lost", extra)
	p.run("ip netns del lost; ip netns add next")
	p.mustCall("ADD", "next", "next", hostLocal)
	if a := p.node_.vf(pfA, p.vf).Admin; a.VLAN == 9 || a.MAC == "02:00:00:00:00:78" {
		p.t.Errorf("the next pod has what the one before was given: %+v", a)
	}
	p.mustCall("DEL", "next", "next", hostLocal)
	p.run("ip netns del next")
	p.mustCall("DEL", "lost", "lost", extra) // late, for its address
}

// The second ADD waits for the first and then says who has the VF.
func (p plugin) twoADDs() {
	const slow = `, "ipam": {"type": "slow"}`
	p.must(p.Put(p.ctx(), "/run/conf", 0o600, []byte(p.conf(slow))))
	out := p.run(`echo ADD >/var/lab/ipam/slow-command; rm -f /var/lab/ipam/called
ip netns add x; ip netns add y
sh /run/cni ADD x x </run/conf >/run/first 2>&1 & first=$!
for i in $(seq 200); do [ ! -e /var/lab/ipam/called ] || break; sleep 0.1; done
sh /run/cni ADD y y </run/conf >/run/second 2>/dev/null & second=$!
sleep 1; kill -0 $second && echo waits
wait $first; echo first $?
wait $second; echo second $?
cat /run/second`)
	for _, want := range []string{"waits", "first 0", "second 1", "already allocated by the network namespace /run/netns/x", `"code": 107`} {
		if !strings.Contains(out, want) {
			p.t.Errorf("no %q in:\n%s", want, out)
		}
	}
	p.run("echo none >/var/lab/ipam/slow-command")
	p.mustCall("DEL", "y", "y", slow) // the runtime's, for the one that failed
	if got := p.run("ls -d /sys/bus/pci/devices/" + p.vf + "/net 2>/dev/null; ip -n x -o link show net1 | wc -l"); !strings.HasSuffix(got, "1") {
		p.t.Errorf("DEL of the pod that got nothing took the VF from the other: %s", got)
	}
	p.mustCall("DEL", "x", "x", slow)
	p.run("ip netns del x; ip netns del y")
}

// DEL hangs in its IPAM plugin, the pod's namespace is gone, and the VF is asked
// for again: what the new pod was given stays.
func (p plugin) slowDEL() {
	const slow = `, "ipam": {"type": "slow"}`
	p.run("ip netns add old; ip netns add new")
	p.mustCall("ADD", "old", "old", `, "vlan": 11`+slow)
	p.must(p.Put(p.ctx(), "/run/conf-new", 0o600, []byte(p.conf(`, "vlan": 1234`+slow))))
	p.run(`echo DEL >/var/lab/ipam/slow-command; rm -f /var/lab/ipam/called
sh /run/cni DEL old old </run/conf >/run/first 2>&1 & first=$!
for i in $(seq 200); do [ ! -e /var/lab/ipam/called ] || break; sleep 0.1; done
ip netns del old
sh /run/cni ADD new new </run/conf-new >/run/second 2>&1 || { cat /run/second; exit 1; }
wait $first || { cat /run/first; exit 1; }`)
	if got := p.node_.vf(pfA, p.vf).Admin.VLAN; got != 1234 {
		p.t.Errorf("the VLAN is %d, want the new pod's 1234", got)
	}
	p.run("echo none >/var/lab/ipam/slow-command")
	p.mustCall("DEL", "new", "new", `, "vlan": 1234`+slow)
	p.run("ip netns del new")
}

// kills calls the plugin and kills it at random moments up to the time that the
// call takes by itself. What it had started is let end.
func (p plugin) kills(count int, took time.Duration, script string) {
	p.t.Helper()
	var moments []string
	for range count {
		moments = append(moments, fmt.Sprint(rand.Int64N(took.Microseconds())))
	}
	p.t.Logf("killed after %s microseconds", strings.Join(moments, " "))
	p.run(`idle() { while pidof host-local >/dev/null; do sleep 0.1; done; }
try() { sh /run/cni $1 $2 $3 </run/conf >/run/out 2>&1 || { echo "$1 $2: $(cat /run/out)"; exit 1; }; }
killed() { sh /run/cni $1 $2 $2 </run/conf >/run/out 2>&1 & pid=$!; usleep $3; kill -9 $pid; wait $pid; idle; }
i=0
for after in ` + strings.Join(moments, " ") + `; do
	i=$((i+1))
	` + script + `
done`)
}

// Killed anywhere in ADD: DEL succeeds, and the next pod gets a VF as it was.
func (p plugin) killedADD() {
	p.must(p.Put(p.ctx(), "/run/conf", 0o600, []byte(p.conf(`, "mac": "02:00:00:00:00:66", "vlan": 5, "trust": "on", "mtu": 1400`+hostLocal))))
	took := p.timed("ADD", "timed")
	p.run("sh /run/cni DEL timed timed </run/conf; ip netns del timed")
	// Every second one without DEL: the namespace ends, as when the node loses
	// the pod.
	p.kills(12, took, `ip netns add k$i
	killed ADD k$i $after
	[ $((i % 2)) = 0 ] || try DEL k$i k$i
	ip netns del k$i
	ip netns add n; try ADD n n; try DEL n n; ip netns del n
	try DEL k$i k$i`)
}

// Killed anywhere in DEL: the next DEL ends what it began.
func (p plugin) killedDEL() {
	p.must(p.Put(p.ctx(), "/run/conf", 0o600, []byte(p.conf(`, "mac": "02:00:00:00:00:67", "vlan": 5, "trust": "on", "mtu": 1400`+hostLocal))))
	p.run("ip netns add timed; sh /run/cni ADD timed timed </run/conf")
	took := p.timed("DEL", "timed")
	p.run("ip netns del timed")
	p.kills(8, took, `ip netns add k$i
	try ADD k$i k$i
	killed DEL k$i $after
	try DEL k$i k$i
	ip netns del k$i`)
}

// timed is how long a call takes, in a namespace that is made for it.
func (p plugin) timed(command, id string) time.Duration {
	p.t.Helper()
	start := time.Now()
	p.run("ip netns add " + id + " 2>/dev/null; sh /run/cni " + command + " " + id + " " + id + " </run/conf")
	return time.Since(start)
}

// GC ends what the runtime does not name, and nothing else.
func (p plugin) gc() {
	p.run("ip netns add stays; ip netns add goes")
	p.mustCall("ADD", "stays", "stays", hostLocal)
	second := p
	second.vf = p.discover(pfA)[1].Address
	second.mustCall("ADD", "goes", "goes", `, "vlan": 12`+hostLocal)
	p.mustCall("GC", "gc", "gc", `, "cni.dev/valid-attachments": [{"containerID": "stays", "ifname": "net1"}]`+hostLocal)
	if got := p.run("ip -n stays -o link show net1 | wc -l; ip -n goes -o link | wc -l"); got != "1\n1" {
		p.t.Errorf("interfaces named net1 in the pod that stays, and all in the one that goes: %q, want 1 and 1 (lo)", got)
	}
	// host-local knows no GC; the runtime's DEL gives the address back.
	second.mustCall("DEL", "goes", "goes", hostLocal)
	p.mustCall("DEL", "stays", "stays", hostLocal)
	p.run("ip netns del stays; ip netns del goes")
}

// What cannot be is refused with a code, and changes nothing.
func (p plugin) refused() {
	p.run("ip netns add r; touch /run/netns/file")
	was := p.run(machine)
	for _, tt := range []struct {
		what, vf, netns, extra string
		code                   int
	}{
		{"the PF", pfA, "r", "", 103},
		{"no VF there", "0000:21:1f.7", "r", "", 105},
		{"no SR-IOV function", "0000:00:00.0", "r", "", 104},
		{"no PCI address", "net1", "r", "", 102},
		{"none", "", "r", "", 101},
		{"no such netns", p.vf, "absent", "", 108},
		{"a file and no netns", p.vf, "file", "", 108},
		{"no VLAN", p.vf, "r", `, "vlan": 4095`, 7},
		{"a MAC of a group", p.vf, "r", `, "mac": "01:00:5e:00:00:01"`, 7},
		{"an IPAM plugin that fails", p.vf, "r", `, "vlan": 13, "mtu": 1400, "ipam": {"type": "broken"}`, 112},
		{"802.1ad, which this card has not", p.vf, "r", `, "vlan": 13, "vlanProto": "802.1ad"`, 109},
	} {
		bad := p
		bad.vf = tt.vf
		out, err := bad.call("ADD", "r", tt.netns, tt.extra)
		var e struct {
			Code         int
			Msg, Details string
		}
		if err == nil || json.Unmarshal([]byte(out), &e) != nil || e.Code != tt.code || e.Msg == "" {
			p.t.Errorf("%s: code %d %q %v\n%s, want %d", tt.what, e.Code, e.Msg, err, out, tt.code)
		}
		p.unchanged(tt.what, was)
	}
	p.run("ip netns del r; rm /run/netns/file")
}

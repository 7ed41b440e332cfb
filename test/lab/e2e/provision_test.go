package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// function is what the kernel says of a VF, through hack/snapshot.
type function struct {
	Address string
	Index   int
	Driver  string
	Netdevs []struct {
		Name, MAC string
		MTU       int
	}
	Admin *struct {
		MAC        string
		VLAN, QoS  int
		MaxRate    int
		Trust      bool
		SpoofCheck bool
	}
}

// kernelView is what the kernel says of the node.
type kernelView struct {
	RDMANetns string
	PFs       []struct {
		Address string
		VFs     []function
	}
}

// snapshot is the machine as it is now. The program that reads it is put on the node
// once; a node that was restored has it no more.
func (n *node_) snapshot() kernelView {
	n.t.Helper()
	const program = "/var/lab/snapshot" // /run has noexec
	if n.run("[ -x "+program+" ] || echo missing") != "" {
		data, err := os.ReadFile("../../../_out/" + n.Arch().Name("snapshot"))
		if err != nil {
			n.t.Fatalf("%v (make lab-built or lab-arm64-built makes it)", err)
		}
		n.must(n.Put(n.ctx(), program, 0o755, data))
	}
	var m kernelView
	n.must(json.Unmarshal([]byte(n.run(program)), &m))
	return m
}

// discover is the PF's VFs as they are now.
func (n *node_) discover(pf string) []function {
	n.t.Helper()
	snap := n.snapshot()
	for _, p := range snap.PFs {
		if p.Address == pf {
			return p.VFs
		}
	}
	n.t.Fatalf("no PF %s: %+v", pf, snap)
	return nil
}

// allReady waits until every PF is as the config says.
func (n *node_) allReady(pfs int) status {
	n.t.Helper()
	return n.status("every PF ready", func(s status) bool {
		for _, pf := range s.PFs {
			if pf.State != "ready" {
				return false
			}
		}
		return s.Spec.State == "accepted" && len(s.PFs) == pfs
	})
}

// writes is how often the extension has written to the kernel since it started
// to log.
func (n *node_) writes() int {
	n.t.Helper()
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	return strings.Count(log, "msg=written")
}

// recordWrites lets the kernel itself record what the extension asks it to
// change: each write to a file of sysfs, and each request of rtnetlink that sets
// a link. The result gives the records so far.
func (n *node_) recordWrites() func() []string {
	n.t.Helper()
	n.run(`cd /sys/kernel/tracing && setlink=$(awk '$3 ~ /^do_setlink(\.isra\.0)?$/ { print $3; exit }' /proc/kallsyms) &&
		echo 'p:lab/sysfs kernfs_fop_write_iter' >kprobe_events && echo "p:lab/netlink $setlink" >>kprobe_events &&
		for e in sysfs netlink; do echo 'comm == "sriovd"' >events/lab/$e/filter && echo 1 >events/lab/$e/enable; done`)
	return func() []string {
		n.t.Helper()
		out := n.run("grep -v '^#' /sys/kernel/tracing/trace || true")
		if out == "" {
			return nil
		}
		return strings.Split(out, "\n")
	}
}

const attributes = `apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: ["` + pfA + `"]}
    numVFs: 4
    resourceName: ` + resource + `
    virtualFunctions:
      - indexes: "0-1"
        trust: true
        spoofCheck: false
        vlan: {id: 100, qos: 3}
        rate: {max: 100}
        macAddresses: ["02:00:00:00:00:10", "02:00:00:00:00:11"]
      - indexes: "2"
        macAddresses: stable
`

// checkAttributes waits until the kernel holds what the config above says, with that
// rate, and returns the MAC of the VF that has a stable one.
func (n *node_) checkAttributes(rate int) string {
	n.t.Helper()
	stable := ""
	n.must(n.WaitFor(n.ctx(), "wait for the attributes in the kernel", func(context.Context) (bool, error) {
		vfs := n.discover(pfA)
		if len(vfs) != 4 {
			return false, fmt.Errorf("%d VFs, want 4", len(vfs))
		}
		for i, vf := range vfs[:2] {
			a := vf.Admin
			if a == nil || !a.Trust || a.SpoofCheck || a.VLAN != 100 || a.QoS != 3 || a.MaxRate != rate {
				return false, fmt.Errorf("VF %d: the kernel has %+v", i, a)
			}
			want := fmt.Sprintf("02:00:00:00:00:1%d", i)
			if a.MAC != want || len(vf.Netdevs) != 1 || vf.Netdevs[0].MAC != want {
				return false, fmt.Errorf("VF %d: MAC of the PF's table %+v, of the interface %+v, want %s", i, a, vf.Netdevs, want)
			}
		}
		if len(vfs[2].Netdevs) != 1 || vfs[2].Admin == nil || vfs[2].Netdevs[0].MAC != vfs[2].Admin.MAC {
			return false, fmt.Errorf("VF 2: %+v", vfs[2])
		}
		stable = vfs[2].Netdevs[0].MAC
		return true, nil
	}))
	return stable
}

// Attributes are what the kernel has, a hand-made change is repaired, and a second run
// writes nothing. TestBootAndReboot has them over a reboot.
func TestAttributesAndDrift(t *testing.T) {
	n := node(t)
	n.document(attributes)
	first := n.allReady(1).Daemon
	n.allocatable(4)
	stable := n.checkAttributes(100)

	before := n.writes()
	kernel := n.recordWrites()
	n.must(n.Service(ext).Restart(n.ctx()))
	s := n.status("the new process", func(s status) bool { return s.Daemon.Started != first.Started && s.Spec.State == "accepted" })
	n.allReady(1)
	n.allocatable(4)
	if after := n.writes(); after != before || s.Daemon.Writes != 0 {
		t.Errorf("a second run on an unchanged node made %d writes by its log, %d by its status", after-before, s.Daemon.Writes)
	}
	if got := kernel(); len(got) != 0 {
		t.Errorf("the kernel saw %d writes of a second run on an unchanged node:\n%s", len(got), strings.Join(got, "\n"))
	}

	n.run("echo 0 >/sys/bus/pci/devices/" + pfA + "/sriov_numvfs")
	n.must(n.WaitFor(n.ctx(), "wait for the VFs to be made again", func(context.Context) (bool, error) {
		return n.numVFs(pfA) == 4, nil
	}))
	s = n.allReady(1)
	n.allocatable(4)
	if got := n.checkAttributes(100); got != stable {
		t.Errorf("the stable MAC was %s, and is %s after the VFs were made again", stable, got)
	}
	// The record does see writes, by either way to the kernel.
	seen := strings.Join(kernel(), "\n")
	if !strings.Contains(seen, "sysfs:") || !strings.Contains(seen, "netlink:") || s.Daemon.Writes == 0 {
		t.Errorf("the repair made %d writes by the status, and the kernel saw\n%s", s.Daemon.Writes, seen)
	}
}

// One PF for both worlds: VFs 0 and 1 for user space, 2 to 4 for the kernel. The
// module of the former is loaded after the service started.
func TestPartition(t *testing.T) {
	n := restored(t)
	n.document(`apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {names: [ens1]}
    numVFs: 5
    virtualFunctions:
      - indexes: "0-1"
        driver: vfio-pci
        resourceName: example.com/dpdk
      - indexes: "2-4"
        resourceName: ` + resource)
	n.status("the driver is missing", func(s status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State != "ready" && slices.ContainsFunc(slices.Concat(s.PFs[0].Problems, s.PFs[0].Notices),
			func(p problem) bool { return strings.Contains(p.Msg, "the driver vfio-pci is not loaded") })
	})
	n.vfio()
	n.allReady(1)
	n.allocatable(3)
	n.must(n.WaitAllocatable(n.ctx(), "example.com/dpdk", 2))
	var groups []string
	for _, vf := range n.discover(pfA) {
		if vf.Index < 2 {
			if vf.Driver != "vfio-pci" || len(vf.Netdevs) != 0 {
				t.Errorf("VF %d: %+v, want vfio-pci and no interface", vf.Index, vf)
			}
			group := n.run("basename $(readlink /sys/bus/pci/devices/" + vf.Address + "/iommu_group)")
			n.run("test -c /dev/vfio/" + group)
			groups = append(groups, group)
		} else if vf.Driver != "igbvf" || len(vf.Netdevs) != 1 {
			t.Errorf("VF %d: %+v, want igbvf and an interface", vf.Index, vf)
		}
	}

	// A pod with both devices sees both groups and the container node.
	n.podOf("dpdk", "example.com/dpdk", 2)
	n.running("dpdk")
	log, err := n.PodLogs(n.ctx(), "dpdk")
	n.must(err)
	for _, want := range append(groups, "vfio") {
		if !strings.Contains(log, "VFIO="+want+"\n") {
			t.Errorf("the pod has no /dev/vfio/%s; it printed:\n%s", want, log)
		}
	}

	// A process that no kubelet knows of has one of them open: a change that
	// would take it waits, and says for what.
	n.must(n.DeletePods(n.ctx()))
	n.run("(exec 3<>/dev/vfio/" + groups[0] + "; echo $$ >/run/holder; while [ ! -e /run/let-go ]; do sleep 0.2; done) </dev/null >/dev/null 2>&1 & while [ ! -s /run/holder ]; do sleep 0.1; done")
	n.document(vfs(pfA, 3))
	s := n.status("waiting for the process", func(s status) bool { return len(s.PFs) == 1 && s.PFs[0].State == "waiting" })
	evidence := fmt.Sprintf("%+v", s.PFs[0].Steps)
	if !strings.Contains(evidence, "/dev/vfio/"+groups[0]) {
		t.Errorf("the steps do not name the open device: %s", evidence)
	}
	if got := n.numVFs(pfA); got != 5 {
		t.Errorf("sriov_numvfs is %d while a process has a VF open, want 5", got)
	}
	n.run("touch /run/let-go")
	n.allocatable(3)
}

// What left the config is removed, but only what we made.
func TestRemovedFromTheConfig(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	n.run("echo 2 >/sys/bus/pci/devices/" + pfB + "/sriov_numvfs") // not ours
	n.remove()
	n.must(n.WaitFor(n.ctx(), "wait for the VFs to be removed", func(context.Context) (bool, error) {
		return n.numVFs(pfA) == 0, nil
	}))
	if got := n.numVFs(pfB); got != 2 {
		t.Errorf("%d VFs on the PF that somebody else configured, want 2", got)
	}
	n.run("echo 0 >/sys/bus/pci/devices/" + pfB + "/sriov_numvfs")
}

// VFs that somebody else makes are configured and offered, never made or removed;
// when their PF leaves the config they stay, and have the kernel's driver again.
func TestExternallyManaged(t *testing.T) {
	n := node(t)
	n.vfio()
	n.document(`apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: ["` + pfA + `"]}
    numVFs: 3
    externallyManaged: true
    resourceName: ` + resource + `
    virtualFunctions:
      - indexes: "0"
        driver: vfio-pci
        resourceName: example.com/dpdk
      - indexes: "1"
        trust: true
        vlan: {id: 100}
`)
	n.status("waiting for VFs", func(s status) bool { return len(s.PFs) == 1 && s.PFs[0].State == "pending" })
	if got := n.numVFs(pfA); got != 0 {
		t.Fatalf("%d VFs were made of a PF that somebody else manages", got)
	}
	n.run("echo 3 >/sys/bus/pci/devices/" + pfA + "/sriov_numvfs")
	n.allReady(1)
	n.allocatable(2)
	n.must(n.WaitAllocatable(n.ctx(), "example.com/dpdk", 1))
	vfs := n.discover(pfA)
	if a := vfs[1].Admin; vfs[0].Driver != "vfio-pci" || a == nil || !a.Trust || a.VLAN != 100 {
		t.Errorf("the VFs are %+v", vfs)
	}
	n.remove()
	n.must(n.WaitFor(n.ctx(), "wait for the kernel's driver", func(context.Context) (bool, error) {
		vfs := n.discover(pfA)
		if len(vfs) != 3 {
			return false, lab.Fatal(fmt.Errorf("%d VFs, want the 3 that somebody made", len(vfs)))
		}
		return vfs[0].Driver == "igbvf" && len(vfs[0].Netdevs) == 1, fmt.Errorf("VF 0: %+v", vfs[0])
	}))
}

// uplink is the node's way out as Talos' own controllers make it: over a VLAN, over a
// bond, over PF B. Talos asks for addresses on every interface only where nothing is
// configured: the one to the host is configured, too.
const uplink = `apiVersion: v1alpha1
kind: DHCPv4Config
name: enp0s3
---
apiVersion: v1alpha1
kind: BondConfig
name: bond0
links: [ens2]
bondMode: active-backup
---
apiVersion: v1alpha1
kind: VLANConfig
name: bond0.7
vlanID: 7
parent: bond0
addresses: [{address: 192.0.2.10/24}]
routes: [{gateway: 192.0.2.1, metric: 900}]
`

const noUplink = `apiVersion: v1alpha1
kind: VLANConfig
name: bond0.7
$patch: delete
---
apiVersion: v1alpha1
kind: BondConfig
name: bond0
$patch: delete
---
apiVersion: v1alpha1
kind: DHCPv4Config
name: enp0s3
$patch: delete
`

// A PF that carries the default route, under a VLAN and a bond, is left alone.
func TestUplinkIsLeftAlone(t *testing.T) {
	n := node(t)
	n.must(n.Patch(n.ctx(), uplink))
	t.Cleanup(func() { _ = n.Patch(context.Background(), noUplink) })
	n.must(n.WaitFor(n.ctx(), "wait for Talos to make the uplink", func(ctx context.Context) (bool, error) {
		out, err := n.Exec(ctx, "ip route show default; cat /sys/class/net/bond0/bonding/slaves")
		if err == nil && !(strings.Contains(out, "dev bond0.7") && strings.Contains(out, "ens2")) {
			err = errors.New(out)
		}
		return err == nil, err
	}))
	spec := vfs(pfA, 2) + "\n  - match: {pciAddresses: [\"" + pfB + "\"]}\n    numVFs: 2\n    resourceName: example.com/other"
	n.document(spec)
	n.allocatable(2)
	s := n.status("the uplink refused", func(s status) bool { return len(s.PFs) == 2 && s.PFs[1].State == "failed" })
	if p := s.PFs[1].Problems[0]; !strings.Contains(p.Msg+p.Hint, "allowUplink") || !strings.Contains(p.Msg, "bond0") {
		t.Errorf("problem %+v, want the bond and allowUplink", p)
	}
	if got := n.numVFs(pfB); got != 0 {
		t.Fatalf("%d VFs were made on the uplink", got)
	}
	// Allowed, but it is the only way out: no step that takes the link down.
	n.document(strings.Replace(spec, "numVFs: 2\n    resourceName: example.com/other", "numVFs: 2\n    mtu: 2000\n    allowUplink: true\n    resourceName: example.com/other", 1))
	n.must(n.WaitAllocatable(n.ctx(), "example.com/other", 2))
	s = n.status("the MTU refused", func(s status) bool { return len(s.PFs) == 2 && len(s.PFs[1].Problems) == 1 })
	if p := s.PFs[1].Problems[0]; !strings.Contains(p.Msg, "only way out") {
		t.Errorf("problem %+v, want that this is the only way out", p)
	}
	if got := n.run("cat /sys/class/net/ens2/mtu"); got != "1500" {
		t.Errorf("the MTU of the uplink was changed to %s", got)
	}
}

// A card that is plugged in when its config is there already. It is taken out before it
// has VFs: with them, Linux 6.18.15 waits for ever (sriov_disable for the lock that
// pciehp_unconfigure_device holds).
func TestCardComesLater(t *testing.T) {
	n := node(t)
	nic := n.NICs()[1]
	ctx, cancel := context.WithTimeout(n.ctx(), time.Minute)
	defer cancel()
	n.must(n.Monitor().Unplug(ctx, nic.ID))
	n.document(vfs(pfB, 3))
	pid := n.daemon().PID
	n.must(n.Monitor().Plug(nic))
	n.allocatable(3)
	if got := n.daemon().PID; got != pid {
		t.Errorf("the daemon has pid %d, had %d", got, pid)
	}
}

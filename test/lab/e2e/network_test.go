package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

const (
	other = "example.com/other"
	dpdk  = "example.com/dpdk"
	pfAIf = "ens1"
	pfBIf = "ens2"
)

// network is a NetworkAttachmentDefinition; config is the JSON without its first
// brace, name and type.
func network(name, resource, config string) string {
	return fmt.Sprintf(`---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: %s, annotations: {k8s.v1.cni.cncf.io/resourceName: %s}}
spec:
  config: '{"cniVersion": "1.0.0", "type": "sriov", %s}'
`, name, resource, config)
}

// demoNetwork has addresses by host-local, and RDMA where there is any.
var demoNetwork = network("sriov-net", resource, `"rdma": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.100.0.0/24"}]]}`)

// netPod is a pod with networks; resources are "name: count" of its container.
func netPod(name, networks, resources string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, annotations: {k8s.v1.cni.cncf.io/networks: %q}}
spec:
  dnsPolicy: Default
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: %s
      command: [sh, -c, "env; trap 'exit 0' TERM; while :; do sleep 1; done"]
      resources: {limits: {%s}}
`, name, networks, lab.Image, resources)
}

// machine is all that an attachment may have changed on the host: interfaces,
// what the PFs hold for their VFs, MTU and MAC of the VFs, and the files of the
// plugin and of IPAM.
const machine = `ls /sys/class/net | grep -v -e veth -e cni0
for pf in ` + pfAIf + ` ` + pfBIf + `; do ip link show $pf; done
for d in /sys/bus/pci/devices/*/physfn; do v=${d%/physfn}; for i in $v/net/*; do [ -e $i ] && echo $i $(cat $i/address $i/mtu); done; done
ip link show | grep altname
` + leftovers

// leftovers are those that must not outlive their pod.
const leftovers = `find /var/lib/cni/sriov /var/lib/cni/networks /run/k8s.cni.cncf.io/devinfo/cni /var/lib/cni/multus -type f 2>/dev/null |
	grep -v -e /vf_lock/ -e /lock$ -e last_reserved_ip -e networks/pods/ | sort
true`

// unchanged asserts that the machine is as it was, and says what is not.
func (n *node_) unchanged(what, before string) {
	n.t.Helper()
	after := n.run(machine)
	if after == before {
		return
	}
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, l := range was {
		if !slices.Contains(is, l) {
			n.t.Errorf("%s: was %q", what, l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			n.t.Errorf("%s: is  %q", what, l)
		}
	}
}

// in runs a command in a pod.
func (n *node_) in(pod, script string) (string, error) {
	return n.Kubectl(n.ctx(), "exec", pod, "--", "sh", "-c", script)
}

// net is an interface in the pod's network status; its VF is in the device info.
func (n *node_) net(pod, ifName string) (lab.Network, string) {
	n.t.Helper()
	status, err := n.running(pod).Network(ifName)
	n.must(err)
	if status.DeviceInfo == nil {
		n.t.Fatalf("interface %s of pod %s has no device info: %+v", ifName, pod, status)
	}
	return status, status.DeviceInfo.PCI.Address
}

// address is the interface's only address, of the given network.
func (n *node_) address(pod, ifName, prefix string) string {
	n.t.Helper()
	status, _ := n.net(pod, ifName)
	if len(status.IPs) != 1 || !strings.HasPrefix(status.IPs[0], prefix) {
		n.t.Fatalf("interface %s of pod %s has addresses %v, want one of %s", ifName, pod, status.IPs, prefix)
	}
	out, err := n.in(pod, "ip -4 addr show "+ifName)
	n.must(err)
	if !strings.Contains(out, status.IPs[0]+"/24") {
		n.t.Errorf("pod %s: the status says %s, the interface has:\n%s", pod, status.IPs[0], out)
	}
	return status.IPs[0]
}

// vf finds a VF as the kernel has it.
func (n *node_) vf(pf, addr string) function {
	n.t.Helper()
	vfs := n.discover(pf)
	i := slices.IndexFunc(vfs, func(f function) bool { return f.Address == addr })
	if i < 0 || vfs[i].Admin == nil {
		n.t.Fatalf("%s is no VF of %s, or has no attributes: %+v", addr, pf, vfs)
	}
	return vfs[i]
}

// Pods get networks of VFs through Multus: the mission's definition, two VFs in
// a pod, VLANs over the wire between two cards, attributes, a VF for user space.
// When they are gone the node is as it was. One case, because a pod costs
// seconds here.
func TestPodNetworks(t *testing.T) {
	n := node(t)
	n.vfio()
	n.document(`apiVersion: v1alpha1
kind: SRIOVConfig
physicalFunctions:
  - match: {pciAddresses: ["` + pfA + `"]}
    numVFs: 4
    resourceName: ` + resource + `
    virtualFunctions:
      - indexes: "0-3"
        vlan: {id: 7}
  - match: {pciAddresses: ["` + pfB + `"]}
    numVFs: 3
    virtualFunctions:
      - {indexes: "0-1", resourceName: ` + other + `}
      - {indexes: "2", driver: vfio-pci, resourceName: ` + dpdk + `}`)
	n.allReady(2)
	n.allocatable(4)
	n.must(n.WaitAllocatable(n.ctx(), other, 2))
	n.must(n.WaitAllocatable(n.ctx(), dpdk, 1))
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" })
	before := n.run(machine)

	const vlans = `"name": "vlans", "vlan": %d, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.101.0.0/24"}]]}`
	const mac = "02:00:00:00:ab:01"
	n.must(n.Apply(n.ctx(), demoNetwork+
		network("vlan100a", resource, fmt.Sprintf(vlans, 100))+
		network("vlan100b", other, fmt.Sprintf(vlans, 100))+
		network("vlan200b", other, fmt.Sprintf(vlans, 200))+
		network("special", resource, `"name": "special", "capabilities": {"mac": true}, "spoofchk": "off", "trust": "on", "mtu": 1400`)+
		network("user", dpdk, `"name": "user", "vlan": 300`)))
	// Multus gives its question to the API server little more than a second, which
	// many pods at once on two emulated processors exceed.
	for _, pods := range [][2]string{
		{netPod("two", "sriov-net, sriov-net", resource+": 2"), netPod("a100", "vlan100a", resource+": 1")},
		{netPod("b100", "vlan100b", other+": 1"), netPod("b200", "vlan200b", other+": 1")},
		{netPod("special", `[{"name": "special", "mac": "`+mac+`"}]`, resource+": 1"), netPod("user", "user", dpdk+": 1")},
	} {
		n.must(n.Apply(n.ctx(), pods[0]+pods[1]))
		for _, p := range pods {
			_, name, _ := strings.Cut(p, "{name: ")
			name, _, _ = strings.Cut(name, ",")
			n.running(name)
		}
	}

	t.Run("two VFs", func(t *testing.T) {
		n := n.with(t)
		n.address("two", "net1", "10.100.0.")
		n.address("two", "net2", "10.100.0.")
		given := strings.Split(n.env("two", env), ",")
		for _, ifName := range []string{"net1", "net2"} {
			status, vf := n.net("two", ifName)
			if !slices.Contains(given, vf) || status.DeviceInfo.Type != "pci" || status.DeviceInfo.PCI.PF != pfA {
				t.Errorf("device info of %s: %+v, the pod was given %v", ifName, status.DeviceInfo, given)
			}
			out, err := n.in("two", "basename $(readlink /sys/class/net/"+ifName+"/device); cat /sys/class/net/"+ifName+"/address")
			n.must(err)
			if want := vf + "\n" + status.MAC + "\n"; out != want {
				t.Errorf("%s is %q, want %q", ifName, out, want)
			}
			if got := n.vf(pfA, vf).Admin.VLAN; got != 7 {
				t.Errorf("VLAN of %s, which the network leaves alone, is %d, want the config's 7", vf, got)
			}
		}
	})
	t.Run("VLANs", func(t *testing.T) {
		n := n.with(t)
		n.running("a100")
		same, different := n.address("b100", "net1", "10.101.0."), n.address("b200", "net1", "10.101.0.")
		n.must(n.WaitFor(n.ctx(), "wait for the pods in one VLAN to reach each other", func(context.Context) (bool, error) {
			_, err := n.in("a100", "ping -c 1 -w 2 -I net1 "+same)
			return err == nil, err
		}))
		out, err := n.in("a100", "ping -c 3 -w 10 -I net1 "+same)
		if err != nil || !strings.Contains(out, " 0% packet loss") {
			t.Errorf("between the cards, in one VLAN: %v\n%s", err, out)
		}
		if out, err := n.in("a100", "ping -c 2 -w 2 -I net1 "+different); err == nil {
			t.Errorf("a pod of VLAN 100 reached one of VLAN 200:\n%s", out)
		}
		// It was the VLAN that kept them apart.
		_, vf := n.net("b200", "net1")
		index := n.vf(pfB, vf).Index
		n.run(fmt.Sprintf("ip link set %s vf %d vlan 100", pfBIf, index))
		n.must(n.WaitFor(n.ctx(), "wait for the pod to be reached when its VLAN is the same", func(context.Context) (bool, error) {
			_, err := n.in("a100", "ping -c 1 -w 2 -I net1 "+different)
			return err == nil, err
		}))
		n.run(fmt.Sprintf("ip link set %s vf %d vlan 200", pfBIf, index))
	})
	t.Run("attributes", func(t *testing.T) {
		n := n.with(t)
		status, vf := n.net("special", "net1")
		if status.MAC != mac || status.MTU != 1400 {
			t.Errorf("network status %+v, want MAC %s and MTU 1400", status, mac)
		}
		out, err := n.in("special", "cat /sys/class/net/net1/address /sys/class/net/net1/mtu")
		n.must(err)
		if out != mac+"\n1400\n" {
			t.Errorf("MAC and MTU in the pod: %q", out)
		}
		if a := n.vf(pfA, vf).Admin; a.MAC != mac || a.SpoofCheck || !a.Trust {
			t.Errorf("the kernel has %+v, want MAC %s, trust, no spoof check", a, mac)
		}
		// What the pod does with its interface ends with it.
		n.run("ip -n $(basename $(cat /var/lib/cni/sriov/pci/" + vf + ")) link set net1 mtu 1280")
	})
	t.Run("user space", func(t *testing.T) {
		n := n.with(t)
		_, vf := n.net("user", "net1")
		f := n.vf(pfB, vf)
		if f.Driver != "vfio-pci" || f.Admin.VLAN != 300 || n.env("user", "PCIDEVICE_EXAMPLE_COM_DPDK") != vf {
			t.Errorf("the pod's VF is %+v with %+v, want vfio-pci and VLAN 300", f, f.Admin)
		}
		if out, err := n.in("user", "ls /sys/class/net"); err != nil || strings.Contains(out, "net1") {
			t.Errorf("interfaces of a pod with a VF for user space: %q, %v", out, err)
		}
	})
	t.Run("no resource asked for", func(t *testing.T) {
		n := n.with(t)
		n.must(n.Apply(n.ctx(), netPod("forgot", "sriov-net", "")))
		n.must(n.WaitFor(n.ctx(), "wait for the event that says what is missing", func(ctx context.Context) (bool, error) {
			out, err := n.Kubectl(ctx, "get", "events", "--field-selector=involvedObject.name=forgot,reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
			for _, want := range []string{`network "sriov-net"`, "pod default/forgot has no device", "k8s.v1.cni.cncf.io/resourceName"} {
				if err == nil && !strings.Contains(out, want) {
					return false, fmt.Errorf("no %q in %q", want, out)
				}
			}
			return err == nil, err
		}))
		_, err := n.Kubectl(n.ctx(), "delete", "pod", "forgot", "--grace-period=1")
		n.must(err)
	})
	t.Run("extension restarted", func(t *testing.T) {
		n := n.with(t)
		was := n.run(machine)
		writes := n.writes()
		registered := func(ctx context.Context) (int, error) {
			log, err := n.Service(ext).Log(ctx)
			return strings.Count(log, "registered with the kubelet"), err
		}
		earlier, err := registered(n.ctx())
		n.must(err)
		n.must(n.Service(ext).Restart(n.ctx()))
		n.must(n.WaitFor(n.ctx(), "wait for the three pools of the new process", func(ctx context.Context) (bool, error) {
			now, err := registered(ctx)
			return now >= earlier+3, err
		}))
		n.allReady(2)
		n.unchanged("after a restart of the extension", was)
		if got := n.writes(); got != writes {
			t.Errorf("the extension made %d writes while pods had the VFs", got-writes)
		}
	})
	n.must(n.DeletePods(n.ctx()))
	n.unchanged("after all pods", before)
}

// with is the same node for a subtest.
func (n *node_) with(t *testing.T) *node_ { return &node_{Node: n.Node, t: t} }

// Fifty pods in sequence, each with a network: one comes, runs to its end and is
// deleted before the next, and nothing of them stays.
func TestFiftyPods(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 2))
	n.allReady(1)
	n.allocatable(2)
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" })
	n.must(n.Apply(n.ctx(), demoNetwork))
	before := n.run(machine)
	start := time.Now()
	for i := range 50 {
		name := fmt.Sprintf("pod-%d", i)
		pod := netPod(name, "sriov-net", resource+": 1")
		pod = strings.Replace(pod, "spec:\n", "spec:\n  restartPolicy: Never\n", 1)
		pod = strings.Replace(pod, "trap 'exit 0' TERM; while :; do sleep 1; done", "ip -4 addr show net1", 1)
		n.must(n.Apply(n.ctx(), pod))
		p, err := n.WaitPod(n.ctx(), name, "at its end", func(p lab.Pod) bool {
			return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed"
		})
		n.must(err)
		log, err := n.PodLogs(n.ctx(), name)
		n.must(err)
		if p.Status.Phase != "Succeeded" || !strings.Contains(log, "inet 10.100.0.") {
			t.Fatalf("pod %s: %s %s %s:\n%s", name, p.Status.Phase, p.Status.Reason, p.Status.Message, log)
		}
		n.must(n.DeletePods(n.ctx()))
	}
	t.Logf("%v for 50 pods", since(start))
	n.must(n.WaitFor(n.ctx(), "wait for the last network to be taken down", func(context.Context) (bool, error) {
		left := n.run(leftovers)
		return left == "", errors.New(left)
	}))
	n.unchanged("after fifty pods", before)
}

// The power fails while a pod has a network: no DEL ran, and the files of the
// plugin and of IPAM are of VFs that are no more. The pod comes back with its
// network, and nothing of before is left.
func TestNetworkAfterPowerCut(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 2))
	n.allReady(1)
	n.allocatable(2)
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" })
	n.must(n.Apply(n.ctx(), demoNetwork+netPod("holder", "sriov-net", resource+": 1")))
	first := n.running("holder")
	n.address("holder", "net1", "10.100.0.")

	start := time.Now()
	n.must(n.Crash(n.ctx()))
	p, err := n.WaitPod(n.ctx(), "holder", "running again", func(p lab.Pod) bool {
		return p.Status.Phase == "Failed" || len(p.Status.Containers) == 1 && p.Ready() && p.Status.Containers[0].ContainerID != first.Status.Containers[0].ContainerID
	})
	n.must(err)
	if p.Status.Phase == "Failed" {
		// The kubelet waits for no device plugin (docs/architecture.md, "VFs before the
		// kubelet"). The pod that its controller would make meets the same leftovers.
		t.Logf("the kubelet refused the pod: %s", p.Status.Message)
		n.must(n.DeletePods(n.ctx()))
		n.must(n.Apply(n.ctx(), netPod("holder", "sriov-net", resource+": 1")))
		n.running("holder")
	}
	t.Logf("the pod is back after %v", since(start))
	n.address("holder", "net1", "10.100.0.")
	_, vf := n.net("holder", "net1")
	out, err := n.in("holder", "basename $(readlink /sys/class/net/net1/device)")
	n.must(err)
	if strings.TrimSpace(out) != vf || n.env("holder", env) != vf {
		t.Errorf("net1 is %q, the pod was given %q, the network status says %q", out, n.env("holder", env), vf)
	}
	n.must(n.DeletePods(n.ctx()))
	for _, f := range n.discover(pfA) {
		if len(f.Netdevs) != 1 || !strings.HasPrefix(f.Netdevs[0].Name, "ens") {
			t.Errorf("VF %s, which no pod has: %+v", f.Address, f)
		}
	}
	// An allocation whose cache was lost with the power is the extension's to find.
	// Multus and host-local leave files that the power cut made empty.
	n.must(n.WaitFor(n.ctx(), "wait for all files of the plugin to be gone", func(context.Context) (bool, error) {
		if left := n.run("find /var/lib/cni/sriov -type f ! -path '*/vf_lock/*'"); left != "" {
			return false, errors.New(left)
		}
		return true, nil
	}))
}

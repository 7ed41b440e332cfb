package e2e

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// The extension installs its CNI plugin by itself, and does not touch what
// somebody else installed unless the config says so.
func TestCNIInstalled(t *testing.T) {
	const place = "/opt/cni/bin/sriov"
	spec := vfs(pfA, 3) + "\n    virtualFunctions:\n      - {indexes: 2, driver: vfio-pci}"
	n := node(t)
	n.vfio()
	n.document(spec)
	cni := func(what, document, state, owner string) status {
		t.Helper()
		n.document(document + "\n# " + what)
		return n.status("CNI plugin: "+what, func(s status) bool {
			return s.Spec.State == "accepted" && s.CNI.State == state && s.CNI.Owner == owner
		})
	}

	n.allReady(1)
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" })
	same := "cmp " + place + " /usr/local/lib/containers/sriov/sriov-cni && stat -c '%a %u' " + place
	if got := n.run(same); got != "755 0" {
		t.Errorf("the plugin is %q", got)
	}
	if got := n.run(place + " 2>&1 </dev/null || true"); !strings.Contains(got, "CNI plugin sriov ") {
		t.Errorf("the plugin says %q", got)
	}

	n.run("echo '#!/bin/sh' >/opt/cni/bin/.theirs && chmod 755 /opt/cni/bin/.theirs && mv /opt/cni/bin/.theirs " + place)
	s := cni("foreign", spec, "foreign", "other")
	if s.CNI.Reason == "" || !strings.Contains(s.CNI.Hint, "force") {
		t.Errorf("foreign: %+v", s.CNI)
	}
	if got := n.run("cat " + place); got != "#!/bin/sh" {
		t.Errorf("a foreign program is now %.40q", got)
	}
	cni("off, foreign", spec+"\ncni: {install: false}", "off", "other")
	if got := n.run("cat " + place); got != "#!/bin/sh" {
		t.Errorf("a foreign program is now %.40q", got)
	}
	cni("force", spec+"\ncni: {install: force}", "installed", "extension")
	n.run(same)
	cni("off", spec+"\ncni: {install: false}", "off", "nobody")
	n.run("test ! -e " + place)
	cni("on again", spec, "installed", "extension")
	n.run(same)

	vf := func(i string) string {
		return n.run("basename $(readlink /sys/bus/pci/devices/" + pfA + "/virtfn" + i + ")")
	}
	first, second := vf("0"), vf("1")
	before := n.hostSide(first)
	n.attach("dead", first)
	n.attach("alive", second)
	// A VF of vfio-pci has no interface that shows where it is.
	const dpdk = "ip link show dev $(ls /sys/bus/pci/devices/" + pfA + "/net) | grep 'vf 2 '"
	dpdkBefore := n.run(dpdk)
	n.attach("dead-dpdk", vf("2"))
	if got := n.run(dpdk); !strings.Contains(got, "vlan 42") {
		t.Errorf("the DPDK pod's VF: %s", got)
	}
	n.run("ip netns del dead; ip netns del dead-dpdk")
	start := time.Now()
	n.status("the dead pods' VFs are waited for", func(s status) bool { return len(s.Orphans.Pending) == 2 && s.Orphans.Pending[0].Device == first })
	n.status("the dead pods' VFs are back", func(s status) bool { return s.Orphans.Returned == 2 && len(s.Orphans.Pending) == 0 })
	t.Logf("reclaimed %v after the namespace was deleted", since(start))
	if after := n.run(dpdk); after != dpdkBefore {
		t.Errorf("the DPDK pod's VF was\n%s\nand is\n%s", dpdkBefore, after)
	}
	if after := n.hostSide(first); after != before {
		t.Errorf("the VF was\n%s\nand is\n%s", before, after)
	}
	if got, want := n.run(cniFiles), second+" alive-net1"; got != want {
		t.Errorf("files of the plugin: %q, want %q", got, want)
	}
	n.run("ip netns exec alive ip link show net1 | grep -q 'state UP'")
	n.attach("dead", first) // can be had again
	n.run("ip netns del dead")

	// What replaces a file has another inode.
	const identity = "stat -c '%i %Y' " + place
	file := n.run(identity)
	// What is on the disk outlives a reboot, and is still ours then; what pods of
	// the run before left are files alone.
	n.must(n.Reboot(n.ctx()))
	n.status("stale files are removed", func(s status) bool { return s.Orphans.Returned == 2 && len(s.Orphans.Pending) == 0 })
	if got := n.run(cniFiles); got != "" {
		t.Errorf("files of the plugin after the reboot: %q", got)
	}
	// The kernel draws a MAC for each VF at each boot; nothing else differs.
	random := regexp.MustCompile("([0-9a-f]{2}:){5}[0-9a-f]{2}")
	if was, is := random.ReplaceAllString(before, "MAC"), random.ReplaceAllString(n.hostSide(first), "MAC"); is != was {
		t.Errorf("before the reboot the VF was\n%s\nand is\n%s", was, is)
	}
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" && s.CNI.Owner == "extension" })
	if is := n.run(identity); is != file {
		t.Errorf("after the reboot the same plugin was written again: the file was %s and is %s", file, is)
	}
}

// cniFiles lists what the CNI plugin remembers.
const cniFiles = "cd /var/lib/cni/sriov && echo $(find . -type f ! -path '*/vf_lock/*' | sed 's,.*/,,' | sort)"

// attach gives the VF to a namespace of that name, as a container runtime does,
// with a VLAN, a MAC and an MTU.
func (n *node_) attach(name, vf string) {
	n.t.Helper()
	n.run("ip netns add " + name + ` && echo '{"cniVersion":"1.0.0","name":"net","type":"sriov","deviceID":"` + vf + `","vlan":42,"mac":"02:00:00:00:00:42","mtu":1400}' |
CNI_COMMAND=ADD CNI_CONTAINERID=` + name + ` CNI_NETNS=/var/run/netns/` + name + ` CNI_IFNAME=net1 CNI_PATH=/opt/cni/bin ownproc /opt/cni/bin/sriov`)
}

// hostSide is the VF as the host sees it, without what may differ from read to
// read.
func (n *node_) hostSide(vf string) string {
	n.t.Helper()
	return n.run("ls /sys/bus/pci/devices/" + vf + "/net; cat /sys/bus/pci/devices/" + vf + "/net/*/mtu /sys/bus/pci/devices/" + vf + "/net/*/address; " +
		"ip link show dev $(ls /sys/bus/pci/devices/" + pfA + "/net) | grep 'vf 0 '")
}

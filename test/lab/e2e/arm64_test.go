package e2e

import (
	"bytes"
	"debug/elf"
	"regexp"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
)

// The extension's own arm64 programs on a Talos, a kernel and a machine of arm64, which
// the others take for amd64: VFs with attributes, registered with the kubelet, and given
// to a pod and by the CNI plugin. It boots, because no other case would restore such a
// node.
func TestArm64(t *testing.T) {
	n := boot(t, lab.Options{Arch: arch.ARM64})
	out, err := n.Talosctl(n.ctx(), "version")
	n.must(err)
	if machine := n.run("uname -m"); machine != "aarch64" || !strings.Contains(out, "linux/arm64") {
		t.Fatalf("the kernel is of %s, and talosctl says\n%s", machine, out)
	}

	n.document(attributes)
	n.allReady(1)
	n.allocatable(4)
	n.checkAttributes(100)
	// The same by a program that is not ours.
	link := n.run("ip link show dev $(ls /sys/bus/pci/devices/" + pfA + "/net)")
	for i, mac := range []string{"02:00:00:00:00:10", "02:00:00:00:00:11"} {
		want := regexp.MustCompile(`vf ` + string(rune('0'+i)) + ` .*` + mac + `.* vlan 100, qos 3,.* spoof checking off.* trust on`)
		if !want.MatchString(link) {
			t.Errorf("ip link has no %q:\n%s", want, link)
		}
	}

	n.pod("one", 1)
	n.running("one")
	vf := n.env("one", env)
	n.checkVF(vf, pfA)
	n.checkInfo("one", vf)
	out, err = n.Kubectl(n.ctx(), "exec", "one", "--", "uname", "-m")
	n.must(err)
	if strings.TrimSpace(out) != "aarch64" {
		t.Errorf("the pod runs on %q", out)
	}
	n.must(n.DeletePods(n.ctx()))

	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" && s.CNI.Owner == "extension" })
	plugin, err := n.Get(n.ctx(), "/opt/cni/bin/sriov")
	n.must(err)
	f, err := elf.NewFile(bytes.NewReader(plugin))
	n.must(err)
	if f.Machine != elf.EM_AARCH64 {
		t.Errorf("the CNI plugin is for %v", f.Machine)
	}
	n.attach("guest", n.run("basename $(readlink /sys/bus/pci/devices/"+pfA+"/virtfn3)"))
	if got := n.run("ip netns exec guest ip link show net1"); !strings.Contains(got, "mtu 1400") || !strings.Contains(got, "02:00:00:00:00:42") {
		t.Errorf("the CNI plugin has set up\n%s", got)
	}
}

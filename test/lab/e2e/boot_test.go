package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// deployment has two pods with a VF each. Talos ends pods before it reboots, and a pod
// that nobody owns stays ended.
const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: vfs}
spec:
  replicas: 2
  selector: {matchLabels: {app: vfs}}
  template:
    metadata: {labels: {app: vfs}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: "` + lab.Image + `", command: [sleep, "100000"], resources: {limits: {` + resource + `: 1}}}]
`

// deployed waits until two pods of the deployment live, in this boot, each with a VF of
// its own: the API server may still have those of the boot before as running.
func (n *node_) deployed() {
	n.t.Helper()
	n.must(n.WaitFor(n.ctx(), "wait for two pods with a VF each", func(ctx context.Context) (bool, error) {
		names, err := n.Kubectl(ctx, "get", "pods", "-l", "app=vfs", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].metadata.name}")
		if err != nil {
			return false, err
		}
		vfs := map[string]bool{}
		for _, name := range strings.Fields(names) {
			out, err := n.Kubectl(ctx, "exec", name, "--", "sh", "-c", "echo $"+env)
			if err != nil {
				return false, err
			}
			vfs[strings.TrimSpace(out)] = true
		}
		return len(vfs) == 2, fmt.Errorf("pods %s have VFs %v", names, vfs)
	}))
}

// quiet is how long a PF has to be seen with a link and without an address at the first
// boot under a document (docs/operations.md, "The uplink").
const quiet = 10 * time.Second

// TestBootAndReboot boots with a document, without any saved state, since the order of
// a boot is what it looks at: the VFs and the CNI plugin are there before the kubelet
// can use them, pods get VFs again after a reboot, and Talos can unmount its volumes. At
// the first boot there is no proof from an earlier one that the PF does not carry the
// node's network. The first boot is with 1.14's workload isolation, the other without.
// Attributes and the stable MAC of a VF are the same after a reboot.
func TestBootAndReboot(t *testing.T) {
	// Without a rate: igb takes one with a link only, and a boot may be quicker.
	n := boot(t, lab.Options{Document: patch(strings.Replace(attributes, "        rate: {max: 100}\n", "", 1))})
	n.allocatable(4)
	stable := n.checkAttributes(0)
	first := n.beforeKubelet()
	if seen := first.written.Sub(first.started); seen < quiet {
		t.Errorf("the first boot: VFs %v after the start of the extension, which has to see the PF for %v", seen, quiet)
	}
	n.must(n.Apply(n.ctx(), deployment))
	n.deployed()

	isolated := func() bool {
		out, err := n.Talosctl(n.ctx(), "services")
		n.must(err)
		return strings.Contains(out, "sandboxd")
	}
	if can := n.Version() >= "v1.14"; isolated() != can {
		t.Errorf("workload isolation: %t, want %t", !can, can)
	} else if can {
		n.must(n.Patch(n.ctx(), "apiVersion: v1alpha1\nkind: SecurityProfileConfig\nworkloadIsolation: false\n"))
	}
	n.unmounts(n.Reboot)
	n.allocatable(4)
	n.deployed()
	n.beforeKubelet()
	if got := n.checkAttributes(0); got != stable {
		t.Errorf("the stable MAC was %s, and is %s after a reboot", stable, got)
	}
	if isolated() {
		t.Error("workload isolation is still on")
	}
	if got := n.drift(); got != 0 {
		t.Errorf("nobody changed anything, but the status counts %d changes by somebody else", got)
	}
	n.noWarning()
}

// TestKexec reboots as Talos does by default: no firmware resets the card, and the new
// kernel finds VFs enabled in it. All comes again as after a power cycle.
func TestKexec(t *testing.T) {
	n := node(t)
	// Without a rate: igb takes one with a link only, and a boot may be quicker.
	n.document(strings.Replace(attributes, "        rate: {max: 100}\n", "", 1))
	n.allocatable(4)
	stable := n.checkAttributes(0)
	n.must(n.Apply(n.ctx(), deployment))
	n.deployed()
	n.must(n.InstallBootLoader(n.ctx()))
	if console := n.unmounts(n.Kexec); !strings.Contains(console, "Starting new kernel") {
		t.Errorf("that was no kexec:\n%s", console)
	}
	n.allocatable(4)
	n.deployed()
	n.beforeKubelet()
	if got := n.checkAttributes(0); got != stable {
		t.Errorf("the stable MAC was %s, and is %s after a reboot", stable, got)
	}
	if got := n.drift(); got != 0 {
		t.Errorf("nobody changed anything, but the status counts %d changes by somebody else", got)
	}
	n.noWarning()
	end()
}

// noWarning asserts that the extension's log of this boot has none, but for lines that
// have one of the texts. There is much to wait for: the network, /var, the VFs'
// interfaces, a kubelet whose socket of the boot before is there with nobody behind it.
func (n *node_) noWarning(but ...string) {
	n.t.Helper()
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	for line := range strings.Lines(log) {
		warns := strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")
		if warns && !slices.ContainsFunc(but, func(text string) bool { return strings.Contains(line, text) }) {
			n.t.Errorf("the extension warns of what is a boot's way: %s", line)
		}
	}
}

// TestPowerCut cuts the power under pods with VFs: nothing was unmounted, and all comes
// again.
func TestPowerCut(t *testing.T) {
	n := node(t)
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	n.must(n.Apply(n.ctx(), deployment))
	n.deployed()
	// A power cut half a minute after the patch has left Talos 1.14.1 without any machine
	// config on STATE.
	n.run("sync")
	n.must(n.Crash(n.ctx()))
	n.allocatable(4)
	n.deployed()
	_, err := n.Kubectl(n.ctx(), "delete", "deployment", "vfs")
	n.must(err)
}

// TestReset wipes EPHEMERAL under pods with VFs, with the service started both before
// /var was mounted and, by a change of its config, after: nothing of ours keeps Talos
// from unmounting it, and a node that has lost all of /var has its VFs, its CNI plugin
// and its pods again.
func TestReset(t *testing.T) {
	n := restored(t)
	n.document(vfs(pfA, 2))
	n.document(vfs(pfA, 4))
	n.allocatable(4)
	n.must(n.Apply(n.ctx(), deployment))
	n.deployed()
	n.run("echo kept >/var/lib/sriov/mark")
	n.unmounts(n.Reset)
	if n.run("ls /var/lib/sriov/mark 2>/dev/null || true") != "" {
		t.Error("EPHEMERAL was not wiped")
	}
	n.allocatable(4)
	n.deployed()
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" && s.CNI.Owner == "extension" })
	end()
}

// volumes puts /var on an encrypted partition, and, where Talos can, the kubelet's
// directory on another one, which is mounted below it later.
func volumes(version string) string {
	const encrypted = "\nencryption: {provider: luks2, keys: [{slot: 0, static: {passphrase: of the lab}}]}\n"
	text := "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {maxSize: 4GB, grow: false}" + encrypted
	if version >= "v1.14" {
		text += "---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: KUBELET\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GB, maxSize: 1GB}" + encrypted
	}
	return text
}

// TestEncryptedVolumes: Talos closes the encrypted volumes with the service running, at
// a reboot, for which the service was started before /var was mounted, and at a reset,
// for which it was started after.
func TestEncryptedVolumes(t *testing.T) {
	version := lab.Version()
	n := boot(t, lab.Options{Document: patch(vfs(pfA, 4)) + "---\n" + volumes(version)})
	n.allocatable(4)
	mounts := n.run("cat /proc/mounts")
	want := []string{" /var "}
	if version >= "v1.14" {
		want = append(want, " /var/lib/kubelet ")
	}
	for _, w := range want {
		if i := strings.Index(mounts, w); i < 0 || !strings.HasPrefix(mounts[strings.LastIndex(mounts[:i], "\n")+1:], "/dev/") {
			t.Errorf("nothing is mounted on%s:\n%s", w, mounts)
		}
	}
	if out := n.run("ls /sys/class/block/*/dm/uuid && cat /sys/class/block/*/dm/uuid"); strings.Count(out, "CRYPT-LUKS2") != len(want) {
		t.Errorf("want %d volumes of LUKS:\n%s", len(want), out)
	}
	n.must(n.Apply(n.ctx(), deployment))
	n.deployed()
	n.unmounts(n.Reboot)
	n.allocatable(4)
	n.deployed()
	// The change restarts the service, and is none to the VFs that the pods have.
	n.document(vfs(pfA, 4) + fmt.Sprintf("\n  - match: {pciAddresses: [%q]}\n    numVFs: 1\n    resourceName: %s", pfB, otherResource))
	n.must(n.WaitAllocatable(n.ctx(), otherResource, 1))
	n.unmounts(n.Reset)
	n.allocatable(4)
	n.deployed()
}

// TestLockdown: with Secure Boot Talos' kernel is locked down, and root may neither change
// it nor read its memory. VFs are made, configured, offered and bound to vfio-pci as ever.
func TestLockdown(t *testing.T) {
	n := boot(t, lab.Options{KernelArgs: []string{"lockdown=confidentiality"}})
	if got := n.run("cat /sys/kernel/security/lockdown"); !strings.Contains(got, "[confidentiality]") {
		t.Fatalf("the kernel is not locked down: %s", got)
	}
	// What the lockdown is there for: a bus address of the card itself is out of reach.
	n.run("! (printf x | dd of=/sys/bus/pci/devices/" + pfA + "/config bs=1 count=1 conv=notrunc) 2>/dev/null")
	n.vfio()
	n.document(strings.Replace(attributes, "        rate: {max: 100}\n", "", 1) + "      - {indexes: \"3\", driver: vfio-pci, resourceName: example.com/dpdk}\n")
	n.allReady(1)
	n.checkAttributes(0)
	n.allocatable(3)
	n.must(n.WaitAllocatable(n.ctx(), "example.com/dpdk", 1))
	n.pod("kernel", 1)
	n.running("kernel")
	n.podOf("dpdk", "example.com/dpdk", 1)
	n.running("dpdk")
	if got := n.env("dpdk", "VFIO"); got == "" {
		t.Error("the pod has no vfio device")
	}
}

// TestSELinux boots with Talos' policy in permissive mode, as Talos does by default: the
// extension runs under the label that Talos gives to extensions, and makes and offers its
// VFs.
func TestSELinux(t *testing.T) {
	n := boot(t, lab.Options{
		Document:   patch(vfs(pfA, 4)),
		KernelArgs: []string{"selinux=1", "lsm=landlock,lockdown,yama,safesetid,selinux,bpf"},
	})
	n.allocatable(4)
	if got := n.run("cat /sys/fs/selinux/enforce"); got != "0" {
		t.Fatalf("/sys/fs/selinux/enforce is %q, want the 0 of permissive", got)
	}
	label := n.run("for p in /proc/[0-9]*; do if [ \"$(cat $p/comm)\" = sriovd ]; then cat $p/attr/current; break; fi; done")
	if want := "system_u:system_r:unconfined_container_t:s0"; strings.Trim(label, "\x00\n") != want {
		t.Errorf("the extension runs as %q, want %s", label, want)
	}
	n.pod("one", 1)
	n.running("one")
}

// unmounts asserts that Talos can unmount its volumes at what ends a boot, and returns
// what the console had from then on.
func (n *node_) unmounts(reboot func(context.Context) error) string {
	n.t.Helper()
	console := filepath.Join(n.Dir(), "console.log")
	before, err := os.Stat(console)
	n.must(err)
	n.must(reboot(n.ctx()))
	text, err := os.ReadFile(console)
	n.must(err)
	second := string(text[before.Size():])
	for _, bad := range []string{"is busy", "failed to unmount"} {
		if i := strings.Index(second, bad); i >= 0 {
			n.t.Errorf("the console has %q: %s", bad, second[max(0, i-200):min(len(second), i+200)])
		}
	}
	if !strings.Contains(second, `volume unmount`) {
		n.t.Error("the console does not say that a volume was unmounted: this case looks for the wrong text")
	}
	return second
}

// bootTimes are of the extension's log of this boot.
type bootTimes struct{ started, written, installed time.Time }

// beforeKubelet compares when the VFs of this boot were written and the CNI plugin was
// installed, by the extension's log, with when the kubelet began to take registrations,
// by its socket. Talos starts it without waiting for extensions.
func (n *node_) beforeKubelet() bootTimes {
	n.t.Helper()
	n.status("CNI plugin there", func(s status) bool { return s.CNI.State == "installed" || s.CNI.State == "newer" })
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	at := func(pattern string) time.Time {
		n.t.Helper()
		m := regexp.MustCompile(`time=(\S+) level=\S+ ` + pattern).FindStringSubmatch(log)
		if m == nil {
			n.t.Fatalf("no line %q of this boot:\n%s", pattern, log)
		}
		when, err := time.Parse(time.RFC3339Nano, m[1])
		n.must(err)
		return when
	}
	out := bootTimes{at(`msg=started`), at(`msg=written .*numvfs=4`), at(`msg=.* component=cni-install .*state=(?:installed|newer)`)}
	listens, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", n.run("stat -c %y /var/lib/kubelet/device-plugins/kubelet.sock"))
	n.must(err)
	n.t.Logf("before the kubelet takes registrations: started %v, plugin installed %v, VFs written %v",
		listens.Sub(out.started), listens.Sub(out.installed), listens.Sub(out.written))
	if !out.written.Before(listens) || !out.installed.Before(listens) {
		n.t.Errorf("VFs at %s, the CNI plugin at %s, the kubelet listens since %s", out.written, out.installed, listens)
	}
	return out
}

// containsAll reports whether all the texts are in the line.
func containsAll(line string, texts []string) bool {
	return !slices.ContainsFunc(texts, func(t string) bool { return !strings.Contains(line, t) })
}

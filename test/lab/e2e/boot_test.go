package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// The cases of the files boot_*_test.go need a node of their own. They follow each
// other, because each of them ends the shared node.

// reboots is how often a case of this file reboots: usually often, and REBOOTS=10
// for measuring.
func reboots(often int) int {
	if v, err := strconv.Atoi(os.Getenv("REBOOTS")); err == nil {
		return v
	}
	return often
}

// enough is how long the kubelet has to leave a plugin between the opening of
// its socket and the first sync of its pods. It waits for nobody: below that, on
// two emulated processors, its own handling of a registration may take longer,
// and pods that are refused are no fault of the plugin.
const enough = 1.0 // seconds

// quiet is how long, in seconds, a PF has to be seen with a link and without an address
// at the first boot under a document (docs/operations.md, "The uplink").
const quiet = 10.0

// Talos' own order, and reboots while pods hold every VF: the VFs are there
// before the kubelet is started, and every pod is admitted again. At the first boot,
// when no pod can have a VF yet, there is no proof from an earlier one that the PF does
// not carry the node's network.
func TestBootOrderAndReboot(t *testing.T) {
	n := boot(t, lab.Options{Document: patch(vfs(pfA, 4))})
	n.allocatable(4)
	if first := n.checkSteps(); first.vfs < first.network+quiet {
		t.Errorf("the first boot: VFs at %.2f s, the network at %.2f s: the PF was not seen for %.0f s", first.vfs, first.network, quiet)
	}
	var all []bootTimes
	admitted, refused := 0, 0
	n.checkInstalled()
	for i := range reboots(1) {
		at, ok, no := n.rebootHeld(i)
		n.checkOrder()
		all, admitted, refused = append(all, at), admitted+ok, refused+no
		if no > 0 && at.synced-at.serving >= enough {
			t.Errorf("reboot %d: %d pods were refused, although the kubelet left %.2f s", i+1, no, at.synced-at.serving)
		}
	}
	summary(t, all)
	t.Logf("%d pods were admitted again, %d refused", admitted, refused)
}

// rebootHeld reboots while four pods hold all VFs, and returns how many were
// admitted again and how many refused. It leaves no pods.
func (n *node_) rebootHeld(i int) (at bootTimes, admitted, refused int) {
	n.t.Helper()
	holders := n.holders(4)
	start := time.Now()
	n.must(n.Reboot(n.ctx()))
	u, err := n.LastUnmount(n.ctx())
	n.must(err)
	n.checkUnmounted(u)
	n.allocatable(4)
	for name, before := range holders {
		p := n.afterReboot(name, before)
		if p.Metadata.UID != before.Metadata.UID {
			n.t.Fatalf("pod %s is another one", name)
		}
		if p.Status.Phase == "Failed" {
			refused++
			n.t.Logf("reboot %d: pod %s was refused: %s: %s", i+1, name, p.Status.Reason, p.Status.Message)
			continue
		}
		admitted++
		n.checkVF(n.env(name, env), pfA)
	}
	at = n.bootTimes() // now, for the kubelet has synced its pods
	n.t.Logf("reboot %d: %d pods are back, %d refused, after %v; the kubelet synced pods %.2f s after its device plugin socket opened, and had the devices after %.2f s",
		i+1, admitted, refused, since(start), at.synced-at.serving, at.known-at.serving)
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	if got := n.drift(); got != 0 {
		n.t.Errorf("reboot %d: nobody changed anything, but the status counts %d changes by somebody else; the log:\n%s", i+1, got, log)
	}
	// There is much to wait for: the network, /var, the VFs' interfaces, a kubelet
	// whose socket of the boot before is there with nobody behind it.
	if strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		n.t.Errorf("reboot %d: the extension warns of what is a boot's way:\n%s", i+1, log)
	}
	n.must(n.DeletePods(n.ctx()))
	return at, admitted, refused
}

// For comparison: the same extension with "depends: cri", as extensions that
// need /var usually have it. It runs when the kubelet does, so what becomes of
// the pods after a reboot (REBOOTS=1) is a race; the log says how it ended.
func TestBootOrderWithDependsOnCRI(t *testing.T) {
	n := boot(t, lab.Options{Document: patch(vfs(pfA, 4)), Extension: lateExtension(t)})
	n.allocatable(4)
	var all []bootTimes
	late := func(boot int, at bootTimes) {
		t.Helper()
		if at.started < at.cri || at.vfs < at.cri {
			t.Errorf("boot %d: the extension started at %.2f s and made VFs at %.2f s, before the CRI it depends on at %.2f s", boot, at.started, at.vfs, at.cri)
		}
		all = append(all, at)
	}
	late(0, n.bootTimes())
	admitted, refused := 0, 0
	for i := range reboots(0) {
		at, ok, no := n.rebootHeld(i)
		late(i+1, at)
		admitted, refused = admitted+ok, refused+no
	}
	summary(t, all)
	if admitted+refused > 0 {
		t.Logf("depends: cri: %d pods were admitted again, %d refused", admitted, refused)
	}
}

// lateExtension is a copy of the project's extension that waits for the CRI.
func lateExtension(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../../_out/extension/linux-amd64/rootfs")); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "usr/local/etc/containers/sriov.yaml"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("depends:\n  - service: cri\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// holders makes so many pods with a VF each and waits until they run.
func (n *node_) holders(count int) map[string]lab.Pod {
	n.t.Helper()
	pods := make(map[string]lab.Pod)
	for i := range count {
		n.pod(fmt.Sprintf("holder-%d", i), 1)
	}
	for i := range count {
		name := fmt.Sprintf("holder-%d", i)
		pods[name] = n.running(name)
	}
	return pods
}

// afterReboot waits until a pod that ran before runs again, or was refused.
func (n *node_) afterReboot(name string, before lab.Pod) lab.Pod {
	n.t.Helper()
	p, err := n.WaitPod(n.ctx(), name, "running again", func(p lab.Pod) bool {
		return p.Status.Phase == "Failed" ||
			len(p.Status.Containers) == 1 && p.Ready() && p.Status.Containers[0].ContainerID != before.Status.Containers[0].ContainerID
	})
	n.must(err)
	return p
}

// bootTimes are seconds since the kernel started.
type bootTimes struct {
	started, document, network, variable, cri, kubelet float64 // from the record of PID 1
	vfs, registered                                    float64 // from the extension's log
	// From the kubelet's log: its device plugin socket opens, our registration is
	// there, it syncs its pods for the first time, it knows the devices.
	serving, asked, synced, known float64
}

// bootTimes waits for the registration of this boot and reads its record.
func (n *node_) bootTimes() bootTimes {
	n.t.Helper()
	events, err := n.BootEvents(n.ctx())
	n.must(err)
	n.must(n.WaitFor(n.ctx(), "wait for the registration", func(ctx context.Context) (bool, error) {
		log, err := n.Service(ext).Log(ctx)
		return strings.Contains(log, "registered with the kubelet"), err
	}))
	kubelet, err := n.Service("kubelet").Log(n.ctx())
	n.must(err)
	kubeletAt := func(texts ...string) float64 {
		for line := range strings.Lines(kubelet) {
			if !containsAll(line, texts) {
				continue
			}
			when, err := time.Parse("20060102 15:04:05", strconv.Itoa(events[0].Wall.UTC().Year())+line[1:min(len(line), 21)])
			n.must(err)
			return events[0].Mono + when.Sub(events[0].Wall).Seconds()
		}
		return 0 // not yet
	}
	event := func(name string) float64 {
		for _, e := range events {
			if e.Name == name {
				return e.Mono
			}
		}
		n.t.Fatalf("the boot has no event %q: %+v", name, events)
		return 0
	}
	at := bootTimes{
		started: event("extension-started"), document: event("document"), network: event("network"),
		variable: event("var"), cri: event("cri"), kubelet: event("kubelet"),
		vfs: n.logged(events, "msg=written", "sriov_numvfs", "new=4"), registered: n.logged(events, "registered with the kubelet"),
		serving: kubeletAt(`"Starting device plugin registration server"`), asked: kubeletAt(`"Got registration request`), synced: kubeletAt(`"SyncLoop ADD"`, "default/"), known: kubeletAt(`"Processed device updates for resource"`),
	}
	if at.vfs < 0 {
		n.t.Fatal("the log of the extension has no write of 4 VFs")
	}
	n.t.Logf("seconds since the kernel started: extension %.2f, document %.2f, network %.2f, VFs %.2f, /var %.2f, CRI %.2f, kubelet %.2f, registered %.2f",
		at.started, at.document, at.network, at.vfs, at.variable, at.cri, at.kubelet, at.registered)
	return at
}

// checkOrder asserts the order of this boot by its record: that of checkSteps, and the
// VFs are there before the kubelet is started.
func (n *node_) checkOrder() {
	n.t.Helper()
	// PID 1 records a step when it is done; the kubelet is started after cri and
	// the images are.
	if at := n.checkSteps(); at.vfs > at.kubelet {
		n.t.Errorf("the VFs were made at %.2f s, after the kubelet was started at %.2f s", at.vfs, at.kubelet)
	}
}

// checkSteps asserts that the extension runs before its document, before /var, and
// before the kubelet.
func (n *node_) checkSteps() bootTimes {
	n.t.Helper()
	at := n.bootTimes()
	order := []struct {
		name string
		at   float64
	}{{"extension", at.started}, {"document", at.document}, {"network", at.network}, {"/var", at.variable}, {"CRI", at.cri}, {"kubelet", at.kubelet}}
	for i := 1; i < len(order); i++ {
		if order[i].at < order[i-1].at {
			n.t.Errorf("%s at %.2f s is before %s at %.2f s", order[i].name, order[i].at, order[i-1].name, order[i-1].at)
		}
	}
	return at
}

// checkInstalled asserts that the CNI plugin was there before the kubelet could ask
// for it.
func (n *node_) checkInstalled() {
	n.t.Helper()
	n.status("CNI plugin installed", func(s status) bool { return s.CNI.State == "installed" })
	events, err := n.BootEvents(n.ctx())
	n.must(err)
	at := map[string]float64{}
	for _, e := range events {
		at[e.Name] = e.Mono
	}
	installed := n.logged(events, "component=cni-install", "state=installed")
	if installed < 0 || installed > at["kubelet"] {
		n.t.Errorf("installed at %.2f s, the kubelet was started at %.2f s", installed, at["kubelet"])
	}
	n.t.Logf("seconds since the kernel started: /var %.2f, plugin installed %.2f, CRI %.2f, kubelet %.2f", at["var"], installed, at["cri"], at["kubelet"])
}

// summary prints what the documents quote: median and range over the boots.
func summary(t *testing.T, all []bootTimes) {
	t.Helper()
	for _, x := range []struct {
		what string
		pods bool // needs some
		of   func(bootTimes) float64
	}{
		{"from the config to the VFs", false, func(b bootTimes) float64 { return b.vfs - b.document }},
		{"from the VFs to the start of the kubelet's process", false, func(b bootTimes) float64 { return b.kubelet - b.vfs }},
		{"from the start of the kubelet's process to the registration", false, func(b bootTimes) float64 { return b.registered - b.kubelet }},
		{"from the kubelet's socket to its first sync of pods", true, func(b bootTimes) float64 { return b.synced - b.serving }},
		{"from the kubelet's socket to our registration there", false, func(b bootTimes) float64 { return b.asked - b.serving }},
		{"from the kubelet's socket to the devices known to it", false, func(b bootTimes) float64 { return b.known - b.serving }},
	} {
		var v []float64
		for _, b := range all {
			// Without pods the kubelet syncs none.
			if b.synced > 0 || !x.pods {
				v = append(v, x.of(b))
			}
		}
		if len(v) == 0 {
			continue
		}
		slices.Sort(v)
		t.Logf("%d boots: %s: median %.2f s, %.2f to %.2f s", len(v), x.what, v[len(v)/2], v[0], v[len(v)-1])
	}
}

// containsAll reports whether all the texts are in the line.
func containsAll(line string, texts []string) bool {
	return !slices.ContainsFunc(texts, func(t string) bool { return !strings.Contains(line, t) })
}

// logged is when the extension first logged a line with all the texts, in
// seconds since the kernel started, -1 if it has not.
func (n *node_) logged(events []lab.Event, texts ...string) float64 {
	n.t.Helper()
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	for line := range strings.Lines(log) {
		if !containsAll(line, texts) {
			continue
		}
		// The record has both clocks; the log has the wall's.
		stamp, _, _ := strings.Cut(line, " ")
		when, err := time.Parse(time.RFC3339Nano, stamp)
		n.must(err)
		return events[0].Mono + when.Sub(events[0].Wall).Seconds()
	}
	return -1
}

package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// A configuration of the device plugin inside the config: the VFs that an
// entry makes are offered by what resourceList says of them, the first of two
// pools has them, and the status of both says so.
func TestResourceList(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {pciAddresses: [\"" + pfA + "\"]}\n    numVFs: 3\n" +
		`resourceList:
  - {resourceName: one, resourcePrefix: example.com, selectors: {rootDevices: ["` + pfA + `#1"]}}
  - {resourceName: rest, selectors: {vendors: ["8086"], rootDevices: ["` + pfA + `"]}}
`)
	for resource, count := range map[string]int{"example.com/one": 1, "intel.com/rest": 2} {
		n.kubelet.Wait(resource, "its devices", func(r kubelettest.Resource) bool {
			return r.Connected && strings.Count(strings.Join(r.Devices, " "), "=Healthy") == count
		})
	}
	n.status("both pools say who has the device", func(s *status.Status) bool {
		return len(s.Pools) == 2 && len(s.Pools[0].Notices) == 1 && len(s.Pools[1].Notices) == 1
	})
}

// The device-info file of an allocation is there as long as its pod.
func TestDeviceInfo(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	r := n.healthy(2)
	id, _, _ := strings.Cut(r.Devices[0], "=")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	n.hold(id, "web")
	_, err := n.kubelet.Client(resource).Allocate(ctx, &v1beta1.AllocateRequest{ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{id}}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(n.infoDir(), "nvidia.com-cx7_qsfp-"+id+"-device.json")
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	// reconcile makes the agent reconcile, and returns when it did.
	reconcile := func(mark string) {
		t.Helper()
		doc := vfs(pfA, 2) + "# " + mark + "\n"
		n.configure(doc)
		n.status(mark, func(s *status.Status) bool {
			return s.Spec.Hash == spec.Hash([]byte(doc)) && len(s.Pools) == 1 && len(s.Pools[0].Members) == 2 &&
				use.Names(s.Pools[0].Members[0].Holders) == "pod default/web"
		})
	}
	reconcile("the kubelet lists the pod")
	n.stop()
	n.start() // a restart leaves it
	reconcile("after the restart")
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	// A boot empties the directory; the kubelet gives the pod its device again
	// without an Allocate, and what knows of the pod before that is our record.
	n.stop()
	if err := os.RemoveAll(n.infoDir()); err != nil {
		t.Fatal(err)
	}
	n.hold(id, "")
	n.silent(true)
	n.boot = "boot-2"
	n.start()
	n.healthy(2)
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("the list is with the kubelet, and the device-info file of before the boot is not there: %v", err)
	}
	if found, _ := filepath.Glob(filepath.Join(n.infoDir(), "*")); len(found) != 1 {
		t.Errorf("files of devices that nobody has: %q", found)
	}
	n.silent(false)
	n.configure(vfs(pfA, 2) + "# reconcile again\n")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); ; <-tick.C {
		if _, err := os.Stat(file); os.IsNotExist(err) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the file outlives its pod")
		}
	}
}

// CDI is switched by the config: on, nodes go through a file in the host's
// directory; off again, the file is gone.
func TestCDI(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	const doc = "apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n  - match: {pciAddresses: [\"" + pfA + "\"]}\n    numVFs: 1\n" +
		"    resourceName: " + resource + "\n    virtualFunctions: [{indexes: 0, driver: vfio-pci}]\n"
	file := filepath.Join(n.cdiDir(), "sriovd-nvidia.com-net-pci-cx7_qsfp.json")
	wait := func(there bool, mark string) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(deadline); ; <-tick.C {
			if _, err := os.Stat(file); (err == nil) == there {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: file there: %v, want %v", mark, !there, there)
			}
		}
	}
	shown := func() {
		t.Helper()
		n.kubelet.Wait(resource, "the VF", func(r kubelettest.Resource) bool { return r.Connected && len(r.Devices) == 1 })
	}
	n.configure(doc)
	shown()
	wait(false, "without the key")
	n.configure(doc + "devicePlugin: {cdi: true}\n")
	wait(true, "with it")
	shown()
	n.configure(doc)
	wait(false, "without it again")
}

// A pulled cable is seen by the kubelet after the hold-down, and so is its
// return.
func TestLinkHealth(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	doc := vfs(pfA, 2) + "health: {holdDown: 20ms}\n"
	n.configure(doc)
	n.healthy(2)
	n.status("ready", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady })
	n.kernel.Plug(pfA, false)
	n.kubelet.Wait(resource, "unhealthy", func(r kubelettest.Resource) bool {
		return len(r.Devices) == 2 && !strings.Contains(strings.Join(r.Devices, " "), "=Healthy")
	})
	n.status("the reason", func(s *status.Status) bool {
		return len(s.Pools) == 1 && s.Pools[0].Healthy == 0 && s.Pools[0].Members[0].Reason == status.Reason{Cause: "no-link", Text: "PF enp33s0 has no link"}
	})
	n.kernel.Plug(pfA, true)
	n.healthy(2)
	hash := n.status("healthy again", func(s *status.Status) bool { return len(s.Pools) == 1 && s.Pools[0].Healthy == 2 }).Spec.Hash

	// Who does not want that says so.
	n.configure(vfs(pfA, 2) + "health: {link: false}\n")
	n.status("the config in force", func(s *status.Status) bool { return s.Spec.State == status.SpecAccepted && s.Spec.Hash != hash })
	before := n.kubelet.Resource(resource).Lists
	n.kernel.Plug(pfA, false)
	n.status("the PF without link", func(s *status.Status) bool { return len(s.PFs) == 1 && !s.PFs[0].Actual.Carrier })
	if r := n.kubelet.Resource(resource); r.Lists != before {
		t.Errorf("the list was sent %d times, devices %v", r.Lists-before, r.Devices)
	}
}

package cardtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

const (
	marker   = "SRIOV_CARD"
	resource = "example.com/vf"
)

const config = `apiVersion: v1alpha1
kind: SRIOVConfig
cni: {install: false}
physicalFunctions:
  - match: {pciAddresses: [%q]}
    numVFs: 4
    resourceName: ` + resource + `
    virtualFunctions:
      - indexes: "0-1"
        trust: true
        spoofCheck: false
        vlan: {id: 100, qos: 3}
        macAddresses: ["02:00:00:00:00:10", "02:00:00:00:00:11"]
`

const wait = 4 * time.Minute

func registered(r kubelettest.Resource) bool {
	return r.Connected && len(r.Devices) == 4 && strings.Count(strings.Join(r.Devices, " "), "=Healthy") == 4
}

// VFs are made and configured, and the kubelet gets a list of as many healthy devices.
func TestCard(t *testing.T) {
	program := os.Getenv(marker)
	if program == "" {
		t.Skipf("needs a machine with a card of its own, and %s=program: test/lab/e2e/kernel has both", marker)
	}
	cards, err := filepath.Glob("/sys/bus/pci/devices/*/sriov_numvfs")
	if err != nil || len(cards) != 1 {
		t.Fatalf("the cards with VFs are %v, want one: %v", cards, err)
	}
	pf := filepath.Dir(cards[0])
	names, err := filepath.Glob(filepath.Join(pf, "net", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("the PF's interfaces are %v, want one: %v", names, err)
	}
	h := nl.Open()
	defer h.Close()
	link, err := h.Link(t.Context(), nl.LinkRef{Name: filepath.Base(names[0])})
	if err != nil {
		t.Fatal(err)
	}
	// As Talos does with every card.
	ref := nl.LinkRef{Index: link.Index, Name: link.Name}
	if err := h.SetUp(t.Context(), ref, true); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, filepath.Base(pf)), 0o600); err != nil {
		t.Fatal(err)
	}
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	var log bytes.Buffer
	cmd := exec.Command(program, "run", "-config", file, "-kubelet-dir", root, "-run-dir", filepath.Join(root, "run"),
		"-state-dir", filepath.Join(dir, "state"), "-device-info-dir", filepath.Join(dir, "devinfo"), "-cni-plugin", "")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		t.Logf("on %s:\n%s", runtime.GOARCH, log.Bytes())
	}()

	// A PF waits for ten seconds under a new config, and the machine is emulated: kubelettest
	// would not wait as long.
	tick, deadline := time.NewTicker(100*time.Millisecond), time.After(wait)
	defer tick.Stop()
	for !registered(k.Resource(resource)) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the kubelet has %+v after %v, want 4 healthy devices", k.Resource(resource), wait)
		}
	}
	t.Logf("the kubelet has %v", k.Resource(resource).Devices)

	vfs, err := h.VFs(t.Context(), ref)
	if err != nil || len(vfs) != 4 {
		t.Fatalf("the kernel has %d VFs, want 4: %v", len(vfs), err)
	}
	for i, vf := range vfs[:2] {
		mac := fmt.Sprintf("02:00:00:00:00:1%d", i)
		if vf.MAC.String() != mac || vf.VLAN != 100 || vf.QoS != 3 || vf.Trust == nil || !*vf.Trust || vf.SpoofCheck == nil || *vf.SpoofCheck {
			t.Errorf("VF %d: the kernel has %+v", i, vf)
		}
	}
}

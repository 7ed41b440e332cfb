package qemu

import (
	"strings"
	"testing"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
)

func TestArgs(t *testing.T) {
	m := Machine{
		Kernel: "k", Initramfs: "i", Disk: "d", CPUs: 4, MemoryMB: 2048, NICs: NICs(3),
		Ports: map[int]int{10250: 1234}, Commands: map[int]string{6443: "fwd 127.0.0.1:6443"}, Agents: []string{"a0", "a1"}, Append: []string{"selinux=0"},
	}
	got := strings.Join(m.Args(), " ")
	for _, want := range []string{
		"size=1024M", "-smp 4", "nodeid=0,cpus=0-1,memdev=m0", "nodeid=1,cpus=2-3,memdev=m1", "cache=unsafe,file=d",
		"hostfwd=tcp:127.0.0.1:1234-:10250,guestfwd=tcp:10.0.2.100:6443-cmd:fwd 127.0.0.1:6443",
		"id=rp-pf0,bus=pxb0,chassis=1,slot=1", "id=rp-pf1,bus=pxb1,chassis=2,slot=2", "id=rp-pf2,bus=pxb0,chassis=3,slot=3",
		"igb,id=pf2,bus=rp-pf2,netdev=net-pf2,mac=52:54:00:00:00:03", "name=lab.agent.1", "iommu=pt selinux=0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "incoming") || strings.Contains(got, "virt,") {
		t.Errorf("what was not asked for is in\n%s", got)
	}
}

// A guest of arm64 has a card, and nothing that only q35 has.
func TestArgsARM64(t *testing.T) {
	got := strings.Join(Bare{Arch: arch.ARM64}.Args(), " ")
	for _, want := range []string{"-M virt,", "console=ttyAMA0", "igb,id=pf0,bus=rp-pf0"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, not := range []string{"q35", "intel", "ttyS0"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is in\n%s", not, got)
		}
	}
}

func TestNICAddress(t *testing.T) {
	var got []string
	for _, n := range NICs(4) {
		got = append(got, n.Address())
	}
	if s := strings.Join(got, " "); s != "0000:21:00.0 0000:41:00.0 0000:22:00.0 0000:42:00.0" {
		t.Errorf("got %s", s)
	}
}

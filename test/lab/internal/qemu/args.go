package qemu

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
)

// NIC is an emulated SR-IOV network card.
type NIC struct {
	ID   string // device id for the monitor
	Node int    // NUMA node, 0 or 1
	Slot int    // 0, 1, ... among those of its node
	MAC  string
}

// nodeBus is the first bus number behind each NUMA node's host bridge; a card
// is on the bus after it, plus its slot.
var nodeBus = [2]int{0x20, 0x40}

// Address is the card's PCI address in the guest.
func (n NIC) Address() string {
	return fmt.Sprintf("0000:%02x:00.0", nodeBus[n.Node]+1+n.Slot)
}

// NICs describes count cards, spread over the two NUMA nodes in turn.
func NICs(count int) []NIC {
	var out []NIC
	for i := range count {
		out = append(out, NIC{
			ID: fmt.Sprintf("pf%d", i), Node: i % 2, Slot: i / 2,
			MAC: fmt.Sprintf("52:54:00:00:00:%02x", i+1),
		})
	}
	return out
}

// Machine describes a virtual machine. All paths are relative to its directory, or
// absolute.
type Machine struct {
	Kernel, Initramfs, Disk string
	Append                  []string
	CPUs, MemoryMB          int
	NICs                    []NIC
	Ports                   map[int]int    // of the guest, and of the host's loopback that lead there
	Commands                map[int]string // run for a connection to this port of Host
	Incoming                string         // file to restore from
	Agents                  []string
	QMP, Console            string
}

// Host is the address by which a guest reaches the Commands of its machine.
const Host = "10.0.2.100"

// baseArgs are for every guest of amd64. The kernel's check of its timer counts ticks in
// a time that passes without the guest on a busy host, and panics.
const baseArgs = "console=ttyS0 quiet no_timer_check"

// cpu is without the features that make the kernel clear and copy memory byte by
// byte: a real processor does that in one go, an emulated one does not.
const cpu = "max,-erms,-fsrm"

// cpuARM64 signs pointers with a hash that takes an emulator far less time.
const cpuARM64 = "max,pauth-impdef=on"

// byPort makes a virtio device take the guest's notifications through an I/O port.
const byPort = ",modern-pio-notify=on"

// CommandLine is the kernel's command line.
func (m Machine) CommandLine() string {
	_, kernel, _ := platform(arch.Host)
	return strings.Join(append([]string{kernel}, m.Append...), " ")
}

// platform is what depends on the architecture: arguments, the kernel's command line, and
// what a virtio device has besides.
//
// An access by memory that meets a change of the machine's memory map (VFs that come or
// go) has got lost. On amd64 one to an interrupt controller took a processor's timer with
// it: with eim the guest reaches these by MSR (x2APIC). One to a virtio device would take
// a notification, which no later one replaces: these go by port. On arm64 the interrupt
// controller is reached by system registers, and a guest has no virtio device.
func platform(a arch.Arch) (args []string, kernel, virtio string) {
	if a == arch.ARM64 {
		return []string{"-M", "virt,gic-version=3,iommu=smmuv3", "-cpu", cpuARM64, "-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"},
			"console=ttyAMA0 quiet panic=0 iommu.passthrough=1", ""
	}
	return []string{"-M", "q35,kernel-irqchip=split", "-cpu", cpu, "-device", "intel-iommu,intremap=on,eim=on"},
		baseArgs + " panic=0 intel_iommu=on iommu=pt", byPort
}

// Args gives QEMU's arguments. A reboot ends it, see Node.Reboot.
func (m Machine) Args() []string {
	half := m.MemoryMB / 2
	args, _, virtio := platform(arch.Host)
	args = append(args,
		"-accel", "tcg,thread=multi", "-smp", fmt.Sprint(m.CPUs), "-m", fmt.Sprint(m.MemoryMB),
		"-display", "none", "-nodefaults", "-nic", "none", "-rtc", "base=utc", "-no-reboot",
		"-smbios", "type=1,uuid=11111111-2222-3333-4444-555555555555", // Talos asks for one
		"-chardev", "file,id=console,append=on,path="+m.Console, "-serial", "chardev:console",
		"-qmp", "unix:"+m.QMP+",server=on,wait=off",
		"-kernel", m.Kernel, "-initrd", m.Initramfs,
		"-append", m.CommandLine(),
		"-object", fmt.Sprintf("memory-backend-ram,id=m0,size=%dM", half),
		"-object", fmt.Sprintf("memory-backend-ram,id=m1,size=%dM", half),
		"-numa", fmt.Sprintf("node,nodeid=0,cpus=0-%d,memdev=m0", m.CPUs/2-1),
		"-numa", fmt.Sprintf("node,nodeid=1,cpus=%d-%d,memdev=m1", m.CPUs/2, m.CPUs-1),
		// cache=unsafe: a crash of the host machine is not our test; a crash of the guest
		// keeps what it wrote.
		"-drive", "if=none,id=talos,format=raw,cache=unsafe,file="+m.Disk,
		"-device", "virtio-blk-pci,drive=talos,serial=talos"+virtio,
		"-device", "virtio-serial-pci"+virtio)
	for i, a := range m.Agents {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=agent%d,server=on,wait=off,path=%s", i, a),
			"-device", fmt.Sprintf("virtserialport,chardev=agent%d,name=lab.agent.%d", i, i))
	}
	user := "user,id=mgmt,restrict=on"
	for _, guest := range slices.Sorted(maps.Keys(m.Ports)) {
		user += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", m.Ports[guest], guest)
	}
	for _, port := range slices.Sorted(maps.Keys(m.Commands)) {
		user += fmt.Sprintf(",guestfwd=tcp:%s:%d-cmd:%s", Host, port, m.Commands[port])
	}
	args = append(args, "-netdev", user, "-device", "virtio-net-pci,netdev=mgmt,mac=52:54:00:00:01:01,romfile="+virtio)
	if len(m.NICs) > 0 {
		args = append(args,
			"-device", fmt.Sprintf("pxb-pcie,id=pxb0,bus=pcie.0,bus_nr=%d,numa_node=0", nodeBus[0]),
			"-device", fmt.Sprintf("pxb-pcie,id=pxb1,bus=pcie.0,bus_nr=%d,numa_node=1", nodeBus[1]))
	}
	for i, n := range m.NICs {
		args = append(args,
			"-netdev", fmt.Sprintf("hubport,hubid=1,id=net-%s", n.ID),
			"-device", fmt.Sprintf("pcie-root-port,id=rp-%s,bus=pxb%d,chassis=%d,slot=%d", n.ID, n.Node, i+1, i+1),
			"-device", n.device())
	}
	if m.Incoming != "" {
		args = append(args, "-incoming", "file:"+m.Incoming)
	}
	return args
}

func (n NIC) device() string {
	return fmt.Sprintf("igb,id=%s,bus=rp-%s,netdev=net-%s,mac=%s", n.ID, n.ID, n.ID, n.MAC)
}

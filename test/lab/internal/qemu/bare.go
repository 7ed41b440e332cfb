package qemu

import (
	"fmt"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
)

// Bare describes a machine with a kernel, an initramfs and two serial ports
// that write to files: no disk, no way in, and a card on arm64 alone. It ends when the
// guest turns it off, or panics.
type Bare struct {
	Arch              arch.Arch
	Kernel, Initramfs string
	Console, Results  string // files of the first and the second serial port
	MemoryMB          int
}

// Args gives the arguments of the architecture's QEMU.
func (m Bare) Args() []string {
	args, kernel := []string{"-M", "q35", "-cpu", "max"}, baseArgs
	if m.Arch == arch.ARM64 {
		card := NICs(1)[0]
		args, kernel, _ = platform(m.Arch)
		args = append(args, "-netdev", "hubport,hubid=1,id=net-"+card.ID,
			"-device", "pcie-root-port,id=rp-"+card.ID+",chassis=1,slot=1", "-device", card.device())
	}
	return append(args,
		"-accel", "tcg,thread=multi", "-smp", "2", "-m", fmt.Sprint(m.MemoryMB),
		"-display", "none", "-nodefaults", "-nic", "none", "-no-reboot",
		"-serial", "file:"+m.Console, "-serial", "file:"+m.Results,
		"-kernel", m.Kernel, "-initrd", m.Initramfs,
		"-append", kernel+" panic=-1")
}

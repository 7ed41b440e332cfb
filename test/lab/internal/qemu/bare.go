package qemu

import "fmt"

// Bare describes a machine with a kernel, an initramfs and two serial ports
// that write to files: no disk, no card, no way in. It ends when the guest turns
// it off, or panics.
type Bare struct {
	Kernel, Initramfs string
	Console, Results  string // files of the first and the second serial port
	MemoryMB          int
}

// Args gives the arguments of qemu-system-x86_64.
func (m Bare) Args() []string {
	return []string{
		"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", fmt.Sprint(m.MemoryMB),
		"-display", "none", "-nodefaults", "-nic", "none", "-no-reboot",
		"-serial", "file:" + m.Console, "-serial", "file:" + m.Results,
		"-kernel", m.Kernel, "-initrd", m.Initramfs,
		"-append", baseArgs + " panic=-1",
	}
}

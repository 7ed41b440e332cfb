package arch

import "fmt"

// Arch is an architecture by its name in Go, which is Debian's as well.
type Arch string

// The architectures of nodes. Host is that of the machine that the lab runs on.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
	Host       = AMD64
)

// Check says whether a node can have the architecture.
func (a Arch) Check() error {
	if a != AMD64 && a != ARM64 {
		return fmt.Errorf("architecture %q: the lab has %s and %s", string(a), AMD64, ARM64)
	}
	return nil
}

func (a Arch) of(amd64, arm64 string) string {
	if a == ARM64 {
		return arm64
	}
	return amd64
}

// QEMU is the program that emulates a machine.
func (a Arch) QEMU() string { return a.of("qemu-system-x86_64", "qemu-system-aarch64") }

// Packages is the word by which deps.sh installs that program.
func (a Arch) Packages() string { return a.of("packages", "packages-arm64") }

// Triplet is the name of the directories in which Debian has libraries.
func (a Arch) Triplet() string { return a.of("x86_64-linux-gnu", "aarch64-linux-gnu") }

// Loader is the file name of the dynamic loader.
func (a Arch) Loader() string { return a.of("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1") }

// Name is the name of a file or directory that each architecture has its own of.
func (a Arch) Name(name string) string { return name + a.of("", "-arm64") }

// Command is a command line by which the host runs a program of the architecture.
func (a Arch) Command(program ...string) []string {
	if a == Host {
		return program
	}
	return append([]string{"qemu-aarch64-static"}, program...)
}

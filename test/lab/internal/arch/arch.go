package arch

// Arch is an architecture by its name in Go, which is Debian's as well.
type Arch string

// The architectures of guests. Host is that of the machine that the lab runs on, and of
// its nodes.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
	Host       = AMD64
)

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

// Name is the name of a file or directory that each architecture has its own of.
func (a Arch) Name(name string) string { return name + a.of("", "-arm64") }

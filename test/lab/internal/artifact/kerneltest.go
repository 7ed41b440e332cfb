package artifact

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// KernelTests is a guest of a kernel, netdevsim and tests, without a disk.
type KernelTests struct {
	Kernel    string
	Initramfs string
}

// KernelTests compiles the tests of packages of the main module and packs them
// into an initramfs, in dir, with the PID 1 that runs them.
func (b *Builder) KernelTests(ctx context.Context, a arch.Arch, dir string, packages []string) (KernelTests, error) {
	unlock, err := b.Lock()
	if err != nil {
		return KernelTests{}, err
	}
	defer unlock()
	k, err := b.buildKernel(ctx, a, testKernel(a))
	if err != nil {
		return KernelTests{}, err
	}
	out := KernelTests{Kernel: k.image(), Initramfs: filepath.Join(dir, "initramfs.cpio")}
	entries, err := b.kernelTestFiles(ctx, a, k)
	if err != nil {
		return KernelTests{}, err
	}
	for _, p := range packages {
		// Go's own cache knows whether anything changed.
		name := strings.ReplaceAll(p, "/", "-")
		bin := filepath.Join(dir, name+".test")
		env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + string(a), "GOFLAGS=", "GOWORK=off"}
		if err := command(ctx, b.Repo, env, "go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", bin, "./"+p); err != nil {
			return KernelTests{}, err
		}
		data, err := os.ReadFile(bin)
		if err != nil {
			return KernelTests{}, fmt.Errorf("%s has no tests: %w", p, err)
		}
		entries = append(entries, archive.Entry{Name: "tests/" + name, Mode: archive.ModeFile | 0o755, Data: data})
	}
	f, err := os.Create(out.Initramfs)
	if err != nil {
		return KernelTests{}, fmt.Errorf("make the initramfs of the kernel tests: %w", err)
	}
	if err := archive.WriteCPIO(f, entries); err != nil {
		f.Close()
		return KernelTests{}, err
	}
	return out, f.Close()
}

// testKernel is the kernel of the tests. That of arm64 is the nodes'.
func testKernel(a arch.Arch) string {
	if a == arch.ARM64 {
		return talosKernel
	}
	return labKernel
}

// kernelTestFiles are the files beside the tests: on amd64 with netdevsim, on arm64 with
// a card's drivers and the extension's program.
func (b *Builder) kernelTestFiles(ctx context.Context, a arch.Arch, k kernel) ([]archive.Entry, error) {
	goVersion, err := b.toolchain(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.bin(a, ""), 0o755); err != nil {
		return nil, fmt.Errorf("make directory for programs: %w", err)
	}
	p := Program{Name: "labkernel", Package: "./cmd/labkernel"}
	key, err := b.programKey(p, goVersion)
	if err != nil {
		return nil, err
	}
	if err := b.step("building labkernel", a.Name("bin")+"-labkernel", key, []string{b.bin(a, p.Name)}, func() error { return b.goBuild(ctx, a, p) }); err != nil {
		return nil, err
	}
	const dir, file = archive.ModeDir | 0o755, archive.ModeFile | 0o755
	var entries []archive.Entry
	for _, d := range []string{"dev", "proc", "sys", "tmp", "modules", "tests"} {
		entries = append(entries, archive.Entry{Name: d, Mode: dir})
	}
	entries = append(entries, archive.Entry{Name: "dev/console", Mode: archive.ModeChar | 0o600, RMajor: 5, RMinor: 1})
	modules := []string{"psample", "vduse", "vhost_vdpa"}
	if a == arch.ARM64 {
		modules = []string{"igb", "igbvf"}
	}
	needed, err := k.modules(modules)
	if err != nil {
		return nil, err
	}
	var order []string
	add := func(name string, data []byte) {
		order = append(order, name)
		entries = append(entries, archive.Entry{Name: "modules/" + name, Mode: file, Data: data})
	}
	for _, f := range needed {
		data, err := k.module(ctx, f)
		if err != nil {
			return nil, err
		}
		add(moduleName(f)+".ko", data)
	}
	if a == arch.ARM64 {
		data, err := os.ReadFile(filepath.Join(b.Repo, "_out/extension/linux-arm64/rootfs/usr/local/lib/containers/sriov/sriovd"))
		if err != nil {
			return nil, fmt.Errorf("read the extension's program: %w (make lab-arm64-built builds it)", err)
		}
		entries = append(entries, archive.Entry{Name: "sriovd", Mode: file, Data: data})
	} else {
		netdevsim, err := b.buildNetdevsim(ctx, k)
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(netdevsim)
		if err != nil {
			return nil, fmt.Errorf("read the module netdevsim: %w", err)
		}
		add("netdevsim.ko", data)
	}
	pid1, err := os.ReadFile(b.bin(a, p.Name))
	if err != nil {
		return nil, fmt.Errorf("read PID 1 of the kernel tests: %w", err)
	}
	return append(entries,
		archive.Entry{Name: "modules/order", Mode: file, Data: []byte(strings.Join(order, "\n"))},
		archive.Entry{Name: "init", Mode: file, Data: pid1}), nil
}

// Netdevsim builds the module beforehand, so that no test waits for it.
func (b *Builder) Netdevsim(ctx context.Context) error {
	unlock, err := b.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	k, err := b.buildKernel(ctx, arch.Host, labKernel)
	if err != nil {
		return err
	}
	_, err = b.buildNetdevsim(ctx, k)
	return err
}

// buildNetdevsim builds the module that Debian's kernels leave out, and returns
// its file. The sources are removed again: they are 200 MB.
func (b *Builder) buildNetdevsim(ctx context.Context, k kernel) (string, error) {
	script := filepath.Join(b.Lab, "deps.sh")
	text, err := os.ReadFile(script)
	if err != nil {
		return "", fmt.Errorf("read deps.sh: %w", err)
	}
	var key Key
	key.Add("1", k.key, k.release)
	key.Add(regexp.MustCompile(`(?m)^source_pin=.*$`).FindAllString(string(text), -1)...)
	out := filepath.Join(b.Out, "netdevsim", "netdevsim.ko")
	return out, b.step("building the module netdevsim", "netdevsim", key, []string{out}, func() error {
		tree := filepath.Join(b.Out, "tmp", "netdevsim")
		defer os.RemoveAll(tree)
		cmd := exec.CommandContext(ctx, script, "netdevsim", tree, k.release)
		cmd.Env = append(os.Environ(), "LAB_OUT="+b.Out)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("deps.sh netdevsim: %w\n%s", err, text)
		}
		src := filepath.Join(tree, "netdevsim")
		// The compiler's name is the kernel's own, of Debian 12, but not
		// everywhere in the path; no BTF, which would take pahole and the
		// kernel's image with symbols.
		err := command(ctx, "", nil, "make", "-s", "-C", filepath.Join(tree, "usr/src/linux-headers-"+k.release), "M="+src,
			"CONFIG_NETDEVSIM=m", "CONFIG_DEBUG_INFO_BTF_MODULES=", "CC=gcc", "modules")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
			return err
		}
		return command(ctx, "", nil, "strip", "--strip-debug", "-o", out, filepath.Join(src, "netdevsim.ko"))
	})
}

package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
)

// KernelTests boots the guest's kernel with netdevsim and nothing else, runs the
// tests of packages of the main module ("pkg/nl/kerneltest") in it with
// SRIOV_NETDEVSIM=1, and returns what they printed when the machine has turned
// itself off. A test that fails is no error here; a guest that does not come to
// the end of all packages is.
//
// On arm64 the guest has Talos' series of the kernel, a network card and the extension's
// program in the place of netdevsim, and the tests get SRIOV_CARD.
func KernelTests(ctx context.Context, log io.Writer, a arch.Arch, packages ...string) (string, error) {
	b, err := artifact.NewBuilder(log)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "lab-kernel-")
	if err != nil {
		return "", fmt.Errorf("make directory for the run: %w", err)
	}
	defer os.RemoveAll(dir)
	image, err := b.KernelTests(ctx, a, dir, packages)
	if err != nil {
		return "", fmt.Errorf("build the kernel tests: %w", err)
	}
	bin, err := findQEMU(a)
	if err != nil {
		return "", err
	}
	m := qemu.Bare{
		Arch: a, Kernel: image.Kernel, Initramfs: image.Initramfs, MemoryMB: 1024,
		Console: filepath.Join(dir, "console.log"), Results: filepath.Join(dir, "results.log"),
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	start := time.Now()
	vm, err := proc.Start("QEMU", filepath.Join(dir, "qemu.log"), dir, bin, m.Args()...)
	if err != nil {
		return "", err
	}
	defer vm.Kill()
	select {
	case <-vm.Done():
	case <-ctx.Done():
		err = fmt.Errorf("the guest did not turn itself off: %w", context.Cause(ctx))
	}
	out, readErr := os.ReadFile(m.Results)
	if err == nil && readErr != nil {
		err = readErr
	}
	if err == nil && !strings.HasSuffix(string(out), "labkernel: end\n") {
		err = fmt.Errorf("the guest ended before its tests did: %w", vm.Err())
	}
	if err != nil {
		return string(out), fmt.Errorf("%w\nend of the guest's console:\n%s", err, proc.Tail(m.Console, 30))
	}
	fmt.Fprintf(log, "lab: running %s in a guest ... %ds\n", strings.Join(packages, " "), int(time.Since(start).Seconds()))
	return string(out), nil
}

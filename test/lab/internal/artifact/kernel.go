package artifact

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// initModules are loaded by the initramfs: what it takes to see the root image
// and to talk to the host.
var initModules = []string{"virtio_blk", "virtio_console", "squashfs"}

// rootModules are in the root image, with what they depend on: drivers of the
// lab's devices, and what tests may load.
var rootModules = []string{
	"8021q", "bonding", "br_netfilter", "bridge", "crc32_generic", "crc32c_generic", "dummy", "ext4", "ib_umad", "ib_uverbs", "igb",
	"igbvf", "ip_tables", "ipvlan", "macvlan", "mlx5_core", "mlx5_ib", "overlay", "psample", "rdma_cm", "rdma_rxe", "rdma_ucm", "tun",
	"uio_pci_generic", "vdpa", "vduse", "veth", "vfio_iommu_type1", "vfio_pci", "vhost_net", "vhost_vdpa",
	"virtio_net", "virtio_vdpa", "vxlan",
}

func (b *Builder) kernelDir() string { return filepath.Join(b.Out, "kernel") }

// buildKernel fetches and unpacks the kernel; it returns its release name.
func (b *Builder) buildKernel(ctx context.Context) (string, string, error) {
	script := filepath.Join(b.Lab, "deps.sh")
	text, err := os.ReadFile(script)
	if err != nil {
		return "", "", fmt.Errorf("read deps.sh: %w", err)
	}
	var key Key
	// Only the pins decide, not the rest of the script.
	key.Add(regexp.MustCompile(`(?m)^kernel_[a-z]+=.*$`).FindAllString(string(text), -1)...)
	deps := filepath.Join(b.kernelDir(), "modules.dep")
	err = b.step("fetching the guest's kernel", "kernel", key, []string{deps}, func() error {
		env := []string{"LAB_OUT=" + b.Out}
		cmd := exec.CommandContext(ctx, script, "kernel", b.kernelDir())
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("deps.sh kernel: %w\n%s", err, out)
		}
		release, err := b.release()
		if err != nil {
			return err
		}
		depmod, err := tool("depmod")
		if err != nil {
			return err
		}
		if err := command(ctx, "", nil, depmod, "-b", b.kernelDir(), release); err != nil {
			return err
		}
		return os.Link(filepath.Join(b.moduleTree(release), "modules.dep"), deps)
	})
	if err != nil {
		return "", "", err
	}
	release, err := b.release()
	return release, key.String(), err
}

func (b *Builder) release() (string, error) {
	found, err := filepath.Glob(filepath.Join(b.kernelDir(), "lib/modules/*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("want one kernel in %s, found %v", b.kernelDir(), found)
	}
	return filepath.Base(found[0]), nil
}

func (b *Builder) moduleTree(release string) string {
	return filepath.Join(b.kernelDir(), "lib/modules", release)
}

// Kernel is the path of the kernel image.
func (b *Builder) kernelImage(release string) string {
	return filepath.Join(b.kernelDir(), "boot", "vmlinuz-"+release)
}

// moduleName is the name of a module by its file: foo-bar.ko.xz is foo_bar.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// closure gives the files of the named modules and of all that they depend on,
// in an order in which they can be loaded one after the other. dep is the text
// of modules.dep. builtin names what needs no file.
func closure(dep, builtin string, names []string) ([]string, error) {
	files, deps := map[string]string{}, map[string][]string{}
	sc := bufio.NewScanner(strings.NewReader(dep))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		file, rest, ok := strings.Cut(sc.Text(), ":")
		if !ok {
			continue
		}
		name := moduleName(file)
		files[name] = file
		for _, d := range strings.Fields(rest) {
			deps[name] = append(deps[name], moduleName(d))
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read modules.dep: %w", err)
	}
	in := map[string]bool{}
	for _, f := range strings.Fields(builtin) {
		in[moduleName(f)] = true
	}
	var out []string
	seen := map[string]bool{}
	var add func(string) error
	add = func(name string) error {
		if seen[name] || in[name] {
			return nil
		}
		seen[name] = true
		f, ok := files[name]
		if !ok {
			return fmt.Errorf("the kernel has no module %s", name)
		}
		// modules.dep has the closest dependency first.
		for _, d := range slices.Backward(deps[name]) {
			if err := add(d); err != nil {
				return err
			}
		}
		out = append(out, f)
		return nil
	}
	for _, n := range names {
		if err := add(strings.ReplaceAll(n, "-", "_")); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// modules gives the load order of the named modules of the fetched kernel.
func (b *Builder) modules(release string, names []string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(b.moduleTree(release), "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read modules.dep: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(b.moduleTree(release), "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read modules.builtin: %w", err)
	}
	return closure(string(dep), string(builtin), names)
}

// unpackModule gives a module's bytes, without compression: the guest's kernel
// would decompress it under emulation.
func (b *Builder) unpackModule(ctx context.Context, release, file string) ([]byte, error) {
	p := filepath.Join(b.moduleTree(release), file)
	if !strings.HasSuffix(p, ".xz") {
		return os.ReadFile(p)
	}
	out, err := exec.CommandContext(ctx, "xz", "-dc", p).Output()
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", file, err)
	}
	return out, nil
}

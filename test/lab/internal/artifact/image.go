package artifact

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// hostPrograms are copied from the host into the root image, with the shared
// libraries that they need.
var hostPrograms = []string{"ip", "bridge", "devlink", "rdma", "ethtool", "kmod", "dash"}

// kmodLinks are the names by which kmod is called.
var kmodLinks = []string{"modprobe", "lsmod", "insmod", "rmmod", "modinfo", "depmod"}

// realPrograms win over a busybox applet of the same name.
var realPrograms = []string{"sh", "ip", "modprobe", "lsmod", "insmod", "rmmod", "modinfo", "depmod", "init"}

//go:embed files/containerd.toml
var containerdConfig []byte

//go:embed files/kubelet.yaml
var kubeletConfig []byte

//go:embed files/00-multus.conf
var multusConfig []byte

// KubeletConfig is the kubelet's configuration in the root image; a file of the
// same name in STATE's directory kubernetes replaces it.
func KubeletConfig() string { return string(kubeletConfig) }

// rootFiles are the small files of the root image.
func rootFiles() map[string][]byte {
	return map[string][]byte{
		"etc/cri/containerd.toml":               containerdConfig,
		"usr/share/lab/kubernetes/kubelet.yaml": kubeletConfig,
		"usr/share/lab/cni/00-multus.conf":      multusConfig,
		"etc/passwd":                            []byte("root:x:0:0:root:/root:/bin/sh\n"),
		"etc/group":                             []byte("root:x:0:\ntty:x:5:\n"),
		"etc/hosts":                             []byte("127.0.0.1 localhost\n"),
		"etc/resolv.conf":                       []byte("nameserver 10.0.2.3\n"),
		"etc/nsswitch.conf":                     []byte("hosts: files dns\n"),
		"etc/os-release":                        []byte("NAME=\"Talos lab\"\nID=talos-lab\nPRETTY_NAME=\"Talos lab node\"\n"),
		"etc/machine-id":                        []byte("00000000000000000000000000000001\n"),
		"etc/modprobe.d/.keep":                  nil,
		"usr/share/misc/pci.ids":                []byte("8086  Intel Corporation\n\t10c9  82576 Gigabit Network Connection\n\t10ca  82576 Virtual Function\n"),
	}
}

// Images are the finished parts of a guest.
type Images struct {
	Kernel    string
	Initramfs string
	Root      string
	Key       string // identifies kernel, initramfs and root together
}

func (b *Builder) image(name string) string { return filepath.Join(b.Out, "image", name) }

// Build makes everything but the extension image, for a node with a kubelet of that
// version.
func (b *Builder) Build(ctx context.Context, kubelet string) (Images, error) {
	unlock, err := b.Lock()
	if err != nil {
		return Images{}, err
	}
	defer unlock()
	k, err := b.buildKernel(ctx, labKernel)
	if err != nil {
		return Images{}, err
	}
	bins, err := b.buildPrograms(ctx, programs(kubelet))
	if err != nil {
		return Images{}, err
	}
	if err := os.MkdirAll(b.image(""), 0o755); err != nil {
		return Images{}, fmt.Errorf("make directory for images: %w", err)
	}
	initKey, err := b.buildInitramfs(ctx, k, bins["labinit"])
	if err != nil {
		return Images{}, err
	}
	rootKey, err := b.buildRoot(ctx, k, kubelet, bins)
	if err != nil {
		return Images{}, err
	}
	return Images{
		Kernel:    k.image(),
		Initramfs: b.image("initramfs.cpio"),
		Root:      b.image(rootImage(kubelet)),
		Key:       sum([]byte(k.key + initKey + rootKey)),
	}, nil
}

func (b *Builder) buildInitramfs(ctx context.Context, k kernel, labinitKey string) (string, error) {
	var key Key
	key.Add("2", k.key, labinitKey, strings.Join(initModules, " "))
	out := b.image("initramfs.cpio")
	return key.String(), b.step("making the initramfs", "initramfs", key, []string{out}, func() error {
		files, err := k.modules(initModules)
		if err != nil {
			return err
		}
		const dir, file = archive.ModeDir | 0o755, archive.ModeFile | 0o755
		entries := []archive.Entry{
			{Name: "dev", Mode: dir},
			{Name: "dev/console", Mode: archive.ModeChar | 0o600, RMajor: 5, RMinor: 1},
			{Name: "proc", Mode: dir},
			{Name: "sys", Mode: dir},
			{Name: "root", Mode: dir},
			{Name: "modules", Mode: dir},
		}
		modules, err := k.entries(ctx, "modules", files)
		if err != nil {
			return err
		}
		pid1, err := os.ReadFile(b.Bin("labinit"))
		if err != nil {
			return err
		}
		entries = append(append(entries, modules...), archive.Entry{Name: "init", Mode: file, Data: pid1})
		return writeCPIO(out, entries)
	})
}

func writeCPIO(path string, entries []archive.Entry) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := archive.WriteCPIO(f, entries); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func rootImage(kubelet string) string { return "root-" + kubelet + ".squashfs" }

// buildRoot makes the read-only root image.
func (b *Builder) buildRoot(ctx context.Context, k kernel, kubelet string, bins map[string]string) (string, error) {
	var key Key
	key.Add("8", k.key, strings.Join(rootModules, " "), strings.Join(realPrograms, " "))
	for _, p := range programs(kubelet) {
		if p.Guest || p.Name == "pause" || p.Name == "ocibase" {
			key.Add(p.Name, p.Dir, bins[p.Name])
		}
	}
	for _, name := range append([]string{"busybox"}, hostPrograms...) {
		p, err := tool(name)
		if err != nil {
			return "", err
		}
		if err := key.Stat(p); err != nil {
			return "", err
		}
	}
	names := []string{}
	files := rootFiles()
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		key.Add(n, string(files[n]))
	}
	out := b.image(rootImage(kubelet))
	return key.String(), b.step("making the guest's root image", strings.TrimSuffix(rootImage(kubelet), ".squashfs"), key, []string{out}, func() error {
		tree := filepath.Join(b.Out, "root")
		if err := os.RemoveAll(tree); err != nil {
			return err
		}
		r := rootTree{b: b, dir: tree, kubeletVersion: kubelet}
		if err := r.fill(ctx, k, files); err != nil {
			return err
		}
		return squash(ctx, tree, out)
	})
}

// squash makes a read-only image; lz4 is quick to read under emulation.
func squash(ctx context.Context, dir, out string) error {
	mk, err := tool("mksquashfs")
	if err != nil {
		return err
	}
	tmp := out + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := command(ctx, "", nil, mk, dir, tmp, "-comp", "lz4", "-all-root", "-noappend", "-no-progress", "-quiet"); err != nil {
		return err
	}
	// A new file and not new contents: a running guest keeps the old one.
	return os.Rename(tmp, out)
}

// rootTree is the directory from which the root image is made.
type rootTree struct {
	b              *Builder
	dir            string
	kubeletVersion string
}

func (r rootTree) path(p string) string { return filepath.Join(r.dir, p) }

func (r rootTree) fill(ctx context.Context, k kernel, files map[string][]byte) error {
	for _, d := range []string{
		"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local", "usr/share/lab/images", "opt/cni/bin", "etc/cni", "etc/kubernetes",
		"etc/cri/conf.d", "var", "run", "system", "tmp", "proc", "sys", "dev", "root", "mnt",
	} {
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "usr/bin/sh": "dash"} {
		if err := os.Symlink(to, r.path(name)); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := r.write(name, data, 0o644); err != nil {
			return err
		}
	}
	for _, p := range programs(r.kubeletVersion) {
		if !p.Guest {
			continue
		}
		dir := p.Dir
		if dir == "" {
			dir = "usr/bin"
		}
		if err := os.MkdirAll(r.path(dir), 0o755); err != nil {
			return err
		}
		// A hard link: these are large, and the tree is only read.
		if err := os.Link(r.b.Bin(p.Name), r.path(filepath.Join(dir, cmp.Or(p.As, p.Name)))); err != nil {
			return err
		}
	}
	spec, err := exec.CommandContext(ctx, r.b.Bin("ocibase")).Output()
	if err != nil {
		return fmt.Errorf("ask containerd for its default OCI spec: %w", err)
	}
	if err := r.write("usr/share/lab/oci-base.json", spec, 0o644); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		r.hostPrograms, r.busybox, r.podImages, r.kubelet,
		func(ctx context.Context) error { return r.modules(ctx, k, rootModules) },
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r rootTree) write(name string, data []byte, mode os.FileMode) error {
	p := r.path(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p, data, mode)
}

// ldd's lines: "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)" and
// "/lib64/ld-linux-x86-64.so.2 (0x...)".
var lddPath = regexp.MustCompile(`(/\S+) \(0x`)

func (r rootTree) hostPrograms(ctx context.Context) error {
	for _, name := range hostPrograms {
		src, err := tool(name)
		if err != nil {
			return err
		}
		dir := "usr/sbin"
		if name == "dash" {
			dir = "usr/bin"
		}
		if err := r.copy(src, filepath.Join(dir, name)); err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, "ldd", src).Output()
		if err != nil {
			return fmt.Errorf("ldd %s: %w", src, err)
		}
		for _, m := range lddPath.FindAllStringSubmatch(string(out), -1) {
			// The loader finds them all in one directory; ld.so itself has its fixed place.
			to := filepath.Join("usr/lib/x86_64-linux-gnu", filepath.Base(m[1]))
			if strings.HasPrefix(filepath.Base(m[1]), "ld-linux") {
				to = filepath.Join("usr/lib64", filepath.Base(m[1]))
			}
			if err := r.copy(m[1], to); err != nil {
				return err
			}
		}
	}
	for _, l := range kmodLinks {
		if err := os.Symlink("kmod", r.path("usr/sbin/"+l)); err != nil {
			return err
		}
	}
	return nil
}

func (r rootTree) copy(src, name string) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return r.write(name, b, 0o755)
}

func (r rootTree) busybox(ctx context.Context) error {
	applets, err := busyboxApplets(ctx)
	if err != nil {
		return err
	}
	bb, err := tool("busybox")
	if err != nil {
		return err
	}
	if err := r.copy(bb, "usr/bin/busybox"); err != nil {
		return err
	}
	for _, a := range applets {
		if slices.Contains(realPrograms, a) || a == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", r.path("usr/bin/"+a)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func busyboxApplets(ctx context.Context) ([]string, error) {
	bb, err := tool("busybox")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, bb, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// The names of the images that pods may use.
const (
	PauseImage   = "registry.k8s.io/pause:3.10"
	BusyboxImage = "docker.io/library/busybox:1.35"
)

// podImages writes the archive that the guest imports.
func (r rootTree) podImages(ctx context.Context) error {
	images, err := r.b.podImages(ctx)
	if err != nil {
		return err
	}
	f, err := os.Create(r.path("usr/share/lab/images/pods.tar"))
	if err != nil {
		return err
	}
	defer f.Close()
	return archive.WriteImages(f, images)
}

// podImages are the images of pods: pause and busybox.
func (b *Builder) podImages(ctx context.Context) ([]archive.Image, error) {
	pause, err := os.ReadFile(b.Bin("pause"))
	if err != nil {
		return nil, err
	}
	busybox, err := busyboxFiles(ctx)
	if err != nil {
		return nil, err
	}
	return []archive.Image{
		{Name: PauseImage, Command: []string{"/pause"}, Files: []archive.Entry{{Name: "pause", Mode: archive.ModeFile | 0o755, Data: pause}}},
		{Name: BusyboxImage, Command: []string{"sh"}, Env: []string{"PATH=/bin"}, Files: busybox},
	}, nil
}

// busyboxFiles are busybox and its names in bin, and what a program expects besides.
func busyboxFiles(ctx context.Context) ([]archive.Entry, error) {
	bb, err := tool("busybox")
	if err != nil {
		return nil, err
	}
	busybox, err := os.ReadFile(bb)
	if err != nil {
		return nil, err
	}
	applets, err := busyboxApplets(ctx)
	if err != nil {
		return nil, err
	}
	files := []archive.Entry{
		{Name: "bin", Mode: archive.ModeDir | 0o755},
		{Name: "bin/busybox", Mode: archive.ModeFile | 0o755, Data: busybox},
		{Name: "etc", Mode: archive.ModeDir | 0o755},
		{Name: "etc/passwd", Mode: archive.ModeFile | 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\n")},
		{Name: "root", Mode: archive.ModeDir | 0o755},
		{Name: "tmp", Mode: archive.ModeDir | 0o777},
	}
	for _, a := range applets {
		if a != "busybox" {
			files = append(files, archive.Entry{Name: "bin/" + a, Mode: archive.ModeLink | 0o777, Data: []byte("busybox")})
		}
	}
	return files, nil
}

func (r rootTree) modules(ctx context.Context, k kernel, names []string) error {
	files, err := k.modules(names)
	if err != nil {
		return err
	}
	base := filepath.Join("usr/lib/modules", k.release)
	for _, f := range files {
		ko, err := k.module(ctx, f)
		if err != nil {
			return err
		}
		if err := r.write(filepath.Join(base, strings.TrimSuffix(f, ".xz")), ko, 0o644); err != nil {
			return err
		}
	}
	for _, f := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		if err := r.copy(filepath.Join(k.tree(), f), filepath.Join(base, f)); err != nil {
			return err
		}
	}
	depmod, err := tool("depmod")
	if err != nil {
		return err
	}
	return command(ctx, "", nil, depmod, "-b", r.dir, k.release)
}

// Extension makes the image of an extension's root filesystem: the directory that
// has usr/local in it. It returns the image's path and key.
func (b *Builder) Extension(ctx context.Context, rootfs string) (string, string, error) {
	unlock, err := b.Lock()
	if err != nil {
		return "", "", err
	}
	defer unlock()
	local := filepath.Join(rootfs, "usr/local")
	if _, err := os.Stat(local); err != nil {
		return "", "", fmt.Errorf("extension root %s: %w (make extension-root builds the project's own)", rootfs, err)
	}
	var key Key
	if err := key.Tree(local, nil); err != nil {
		return "", "", err
	}
	// Named by contents: another extension does not push this one out.
	k := key.String()
	out := b.image("extension-" + k[:16] + ".squashfs")
	if err := os.MkdirAll(b.image(""), 0o755); err != nil {
		return "", "", fmt.Errorf("make directory for images: %w", err)
	}
	if _, err := os.Stat(out); err == nil {
		return out, k, nil
	}
	if err := squash(ctx, local, out); err != nil {
		return "", "", fmt.Errorf("make extension image: %w", err)
	}
	return out, k, nil
}

package artifact

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/arch"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/archive"
)

// Talos is a version of Talos that the lab can boot.
type Talos struct {
	Version    string // with its v
	Kubernetes string // the kubelet that its nodes run
	module     string
}

// Talos' versions, oldest first, each with the Kubernetes that its nodes run.
var taloses = []Talos{
	{Version: "v1.13.9", Kubernetes: KubeletOld, module: "talos-1.13"},
	{Version: "v1.14.1", Kubernetes: KubeVersion, module: "talos-1.14"},
}

// TalosVersions are the versions that Builder.Talos can build, oldest first.
func TalosVersions() []string {
	var out []string
	for _, t := range taloses {
		out = append(out, t.Version)
	}
	return out
}

// ModulePatch is the patch by which the version's machine config loads kernel modules.
func (t Talos) ModulePatch(modules ...string) string {
	var out strings.Builder
	if t.Version < "v1.14" {
		out.WriteString("machine:\n  kernel:\n    modules:\n")
	}
	for _, m := range modules {
		if t.Version < "v1.14" {
			out.WriteString("      - name: " + m + "\n")
		} else {
			out.WriteString("---\napiVersion: v1alpha1\nkind: KernelModuleConfig\nname: " + m + "\n")
		}
	}
	return out.String()
}

// Program is the name of one of its programs: "init", "machined", "talosctl",
// "extensions" or "installer".
func (t Talos) Program(name string) string { return t.module + "-" + name }

// talosSource begins the names of Talos' packages, which are built as they are, with the
// tags and settings of its own build.
const talosSource = "github.com/siderolabs/talos/"

func (t Talos) program(name, pkg, ldflags string) Program {
	return Program{
		Name: t.Program(name), Module: t.module, Package: pkg, Version: t.Version,
		Tags: "tcell_minimal,grpcnotrace", LDFlags: ldflags,
	}
}

// hostPrograms are what a node with this version needs on the host; "extensions" is the
// lab's call of Talos' imager.
func (t Talos) hostPrograms() []Program {
	return append(hostPrograms(),
		t.program("talosctl", talosSource+"cmd/talosctl", ""),
		t.program("extensions", "../_extensions/main.go", "")) // one source, built in each version's module
}

// guestPrograms are what a node with this version is made of.
func (t Talos) guestPrograms() []Program {
	return append(guestPrograms(t.Kubernetes),
		t.program("init", talosSource+"internal/app/init", ""),
		t.program("machined", talosSource+"internal/app/machined", "-X golang.zx2c4.com/wireguard/ipc.socketDirectory=/system/wireguard-sock"))
}

// TalosImage are the parts of a machine that boots Talos.
type TalosImage struct {
	Talos
	Kernel    string
	Initramfs string // with the root image and the extensions
	Disk      string // to be copied: Talos' partitions, without a boot loader and configuration
	Key       string // identifies all of them
}

// MultusImage is the image of Multus, that has busybox besides.
const MultusImage = "ghcr.io/k8snetworkplumbingwg/multus-cni:" + multusVersion

// sandboxTags are the versions of pause that Talos' versions name; all are ours.
var sandboxTags = []string{"3.10.1", "3.10.2"}

// TalosImages are the images that a node with Talos pulls, and those of the lab's pods.
func (b *Builder) TalosImages(ctx context.Context, t Talos) ([]archive.Image, error) {
	images, err := b.podImages(ctx)
	if err != nil {
		return nil, err
	}
	pause := images[0]
	name, _, _ := strings.Cut(pause.Name, ":")
	for _, tag := range sandboxTags {
		pause.Name = name + ":" + tag
		images = append(images, pause)
	}
	const dir = archive.ModeDir | 0o755
	kubelet, err := b.programImage(ctx, "ghcr.io/siderolabs/kubelet:"+t.Kubernetes, "kubelet-"+t.Kubernetes, "usr/local/bin/kubelet",
		// What Talos' own image has of directories.
		archive.Entry{Name: "usr", Mode: dir}, archive.Entry{Name: "usr/local", Mode: dir}, archive.Entry{Name: "usr/local/bin", Mode: dir},
		archive.Entry{Name: "run", Mode: dir}, archive.Entry{Name: "var", Mode: dir},
		archive.Entry{Name: "var/run", Mode: archive.ModeLink | 0o777, Data: []byte("/run")},
		archive.Entry{Name: "etc/group", Mode: archive.ModeFile | 0o644, Data: []byte("root:x:0:\n")})
	if err != nil {
		return nil, err
	}
	multus, err := b.programImage(ctx, MultusImage, "multus", "multus")
	if err != nil {
		return nil, err
	}
	return append(images, kubelet, multus), nil
}

// programImage is an image of busybox that has one of the lab's programs at a path, and
// other files, directories before what is in them.
func (b *Builder) programImage(ctx context.Context, name, program, path string, more ...archive.Entry) (archive.Image, error) {
	files, err := b.busyboxFiles(ctx)
	if err != nil {
		return archive.Image{}, err
	}
	data, err := os.ReadFile(b.Bin(program))
	if err != nil {
		return archive.Image{}, err
	}
	files = append(append(files, more...), archive.Entry{Name: path, Mode: archive.ModeFile | 0o755, Data: data})
	return archive.Image{Name: name, Command: []string{"/" + path}, Env: []string{"PATH=/usr/local/bin:/bin"}, Files: files}, nil
}

// builtins are loaded before Talos' init: its own kernel has them built in.
var builtins = []string{
	"loop", "squashfs", "overlay", "configfs", "virtio_net", "virtio_blk", "virtio_console", "bridge", "br_netfilter", "dm-mod", "nf_tables",
}

// talosModules are in the root image besides: what Talos itself asks for, drivers of
// the lab's devices, and what tests load.
var talosModules = []string{
	"kernel/crypto/", "kernel/drivers/md/", "kernel/fs/nls/", "kernel/net/bridge/", "kernel/net/ipv4/netfilter/", "kernel/net/ipv6/netfilter/",
	"kernel/net/netfilter/", "8021q", "bonding", "dummy", "efivarfs", "ext4", "ib_umad", "ib_uverbs", "igb", "igbvf", "ipvlan", "macvlan", "mlx5_core",
	"mlx5_ib", "psample", "rdma_cm", "rdma_rxe", "rdma_ucm", "tun", "vdpa", "vduse", "veth", "vfat", "vfio_iommu_type1", "vfio_pci", "vhost_net",
	"vhost_vdpa", "virtio_vdpa", "vxlan", "xfs",
}

// findTalos gives a version that the lab can boot.
func findTalos(version string) (Talos, error) {
	i := slices.IndexFunc(taloses, func(t Talos) bool { return t.Version == version })
	if i < 0 {
		return Talos{}, fmt.Errorf("Talos %s: the lab has %s", version, strings.Join(TalosVersions(), " and "))
	}
	return taloses[i], nil
}

// Talos makes the parts of a machine that boots that version with these extensions,
// directories that have manifest.yaml and rootfs, and builds the programs of the
// cluster that it joins.
func (b *Builder) Talos(ctx context.Context, version string, extensions []string) (TalosImage, error) {
	unlock, err := b.Lock()
	if err != nil {
		return TalosImage{}, err
	}
	defer unlock()
	t, err := findTalos(version)
	if err != nil {
		return TalosImage{}, err
	}
	k, err := b.buildKernel(ctx, arch.Host, talosKernel)
	if err != nil {
		return TalosImage{}, err
	}
	userland, userlandKey, err := b.buildUserland(ctx) // before what is compiled with its libraries
	if err != nil {
		return TalosImage{}, err
	}
	keys, err := b.buildPrograms(ctx, append(t.hostPrograms(), t.guestPrograms()...))
	if err != nil {
		return TalosImage{}, err
	}
	out := TalosImage{Talos: t, Kernel: k.image(), Disk: b.image("talos-disk.raw")}
	var diskKey Key
	diskKey.Add(partitions)
	if err := os.MkdirAll(b.image(""), 0o755); err != nil {
		return TalosImage{}, fmt.Errorf("make directory for images: %w", err)
	}
	if err := b.step("making an installed disk", "talos-disk", diskKey, []string{out.Disk}, func() error { return makeTalosDisk(ctx, out.Disk) }); err != nil {
		return TalosImage{}, err
	}
	rootKey, err := b.buildTalosRoot(ctx, t, k, userland, userlandKey, keys)
	if err != nil {
		return TalosImage{}, err
	}
	initramfs, initramfsKey, err := b.buildTalosInitramfs(ctx, t, k, rootKey, keys, extensions)
	out.Initramfs, out.Key = initramfs, initramfsKey+diskKey.String()
	return out, err
}

// diskSizeMB is the size of the disk; it is sparse.
const diskSizeMB = 8 << 10

// partitions are those that Talos' installer makes where GRUB is its boot loader, as
// sfdisk has them, in sectors of 512 bytes. By META machined takes the disk for an
// installed one, and makes the others itself.
const partitions = `label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name="BIOS"
size=4096000, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="BOOT"
size=2048, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="META"
`

// makeTalosDisk makes a disk with these partitions, which are empty.
func makeTalosDisk(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(diskSizeMB << 20); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	sfdisk, err := tool("sfdisk")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, sfdisk, "--quiet", path)
	cmd.Stdin = strings.NewReader(partitions)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("sfdisk: %w\n%s", err, out)
	}
	return nil
}

// buildTalosInitramfs makes what the boot loader would load: Talos' init with the root
// image, the extensions as Talos' imager adds them, and, before init, a program that
// loads what Talos' kernel has built in.
func (b *Builder) buildTalosInitramfs(ctx context.Context, t Talos, k kernel, rootKey string, keys map[string]string, extensions []string) (string, string, error) {
	var key Key
	key.Add("2", rootKey, keys[t.Program("init")], keys[t.Program("extensions")], strings.Join(builtins, " "), string(preinit))
	for _, e := range extensions {
		key.Add("extension")
		if err := key.Tree(e, func(p string) bool { return filepath.Base(p) != ".done" }); err != nil {
			return "", "", err
		}
	}
	// Named by contents: another extension does not push this one out.
	id := key.String()
	out := b.image("talos-" + id[:16] + ".initramfs")
	if _, err := os.Stat(out); err == nil {
		return out, id, nil
	}
	if err := b.pruneImages("talos-*.initramfs", 4); err != nil {
		return "", "", err
	}
	var step Key
	step.Add(id)
	err := b.step("adding the extensions to Talos", "talos-initramfs", step, []string{out}, func() error {
		tmp := out + ".new"
		if err := b.writeTalosInitramfs(ctx, tmp, t); err != nil {
			return err
		}
		if err := b.addExtensions(ctx, tmp, t, extensions); err != nil {
			return err
		}
		if err := b.appendPreinit(ctx, tmp, k); err != nil {
			return err
		}
		return os.Rename(tmp, out)
	})
	return out, id, err
}

func (b *Builder) writeTalosInitramfs(ctx context.Context, path string, t Talos) error {
	pid1, err := os.ReadFile(b.Bin(t.Program("init")))
	if err != nil {
		return err
	}
	root, err := os.ReadFile(b.talosRootImage(t))
	if err != nil {
		return err
	}
	return writeCPIO(path, []archive.Entry{
		{Name: "init", Mode: archive.ModeFile | 0o755, Data: pid1},
		{Name: "rootfs.sqsh", Mode: archive.ModeFile | 0o644, Data: root},
	})
}

// addExtensions lets Talos' imager do it. An extension's directory may hold nothing
// but what its image has.
func (b *Builder) addExtensions(ctx context.Context, initramfs string, t Talos, extensions []string) error {
	tree, err := os.MkdirTemp(b.Out, "extensions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	for i, e := range extensions {
		r := rootTree{b: b, dir: filepath.Join(tree, fmt.Sprint(i))}
		if err := r.copy(filepath.Join(e, "manifest.yaml"), "manifest.yaml"); err != nil {
			return fmt.Errorf("extension %s: %w", e, err)
		}
		if err := os.CopyFS(r.path("rootfs"), os.DirFS(filepath.Join(e, "rootfs"))); err != nil {
			return fmt.Errorf("extension %s: %w", e, err)
		}
	}
	return command(ctx, "", nil, b.Bin(t.Program("extensions")), t.Version, string(arch.Host), initramfs, tree)
}

// preinit runs before Talos' init.
const preinit = `#!/preinit.d/busybox sh
/preinit.d/busybox mkdir -p /proc
/preinit.d/busybox mount -t proc proc /proc
for m in $(/preinit.d/busybox cat /preinit.d/order); do
	/preinit.d/busybox insmod /preinit.d/$m || echo "preinit: insmod $m failed"
done
/preinit.d/busybox umount /proc
exec /init
`

// appendPreinit adds an archive to an initramfs; each begins at a multiple of four.
func (b *Builder) appendPreinit(ctx context.Context, initramfs string, k kernel) error {
	files, err := k.modules(builtins)
	if err != nil {
		return err
	}
	bb, err := tool("busybox")
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(bb)
	if err != nil {
		return err
	}
	const file = archive.ModeFile | 0o755
	entries := []archive.Entry{
		{Name: "preinit", Mode: file, Data: []byte(preinit)},
		{Name: "preinit.d", Mode: archive.ModeDir | 0o755},
		{Name: "preinit.d/busybox", Mode: file, Data: busybox},
	}
	modules, err := k.entries(ctx, "preinit.d", files)
	if err != nil {
		return err
	}
	entries = append(entries, modules...)
	f, err := os.OpenFile(initramfs, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.Write(make([]byte, (4-fi.Size()%4)%4)); err != nil {
		return err
	}
	if err := archive.WriteCPIO(f, entries); err != nil {
		return err
	}
	return f.Close()
}

// pruneImages removes all but the newest images of a pattern; what a running machine
// has open, or a saved state has linked, stays with it.
func (b *Builder) pruneImages(pattern string, keep int) error {
	files, err := filepath.Glob(b.image(pattern))
	if err != nil {
		return err
	}
	age := map[string]int64{}
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			return err
		}
		age[f] = fi.ModTime().UnixNano()
	}
	slices.SortFunc(files, func(x, y string) int { return cmp.Compare(age[y], age[x]) })
	for i, f := range files {
		if i >= keep {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	return nil
}

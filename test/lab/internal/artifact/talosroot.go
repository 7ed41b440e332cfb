package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// talosHostPrograms are the programs that Talos calls, as Debian's packages have them,
// with their names in Talos' root.
var talosHostPrograms = map[string]string{
	"bin/kmod": "modprobe", "bin/udevadm": "udevadm", "sbin/cryptsetup": "cryptsetup", "sbin/dmsetup": "dmsetup", "sbin/e2fsck": "e2fsck",
	"sbin/lvm": "lvm", "sbin/mdadm": "mdadm", "sbin/mke2fs": "mke2fs", "sbin/mkfs.vfat": "mkfs.vfat", "sbin/mkfs.xfs": "mkfs.xfs", "sbin/resize2fs": "resize2fs",
	"sbin/xfs_repair": "xfs_repair", "usr/sbin/nft": "nft", "usr/sbin/xfs_db": "xfs_db", "usr/sbin/xfs_growfs": "xfs_growfs",
	"usr/sbin/xfs_io": "xfs_io", "usr/sbin/xtables-nft-multi": "xtables-nft-multi",
}

// talosLinks are the other names of programs, and the directories, of Talos' root.
var talosLinks = map[string]string{
	"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib", "usr/sbin": "bin", "usr/lib64": "lib", "var/run": "../run",
	"var/lock": "../run/lock", "usr/bin/systemd-udevd": "udevadm", "usr/bin/mkfs.ext4": "mke2fs", "usr/bin/fsck.ext4": "e2fsck",
	"usr/bin/iptables": "xtables-nft-multi", "usr/bin/ip6tables": "xtables-nft-multi", "usr/bin/iptables-save": "xtables-nft-multi",
	"usr/bin/iptables-restore": "xtables-nft-multi", "usr/bin/pvs": "lvm", "usr/bin/vgs": "lvm", "usr/bin/lvs": "lvm", "usr/bin/pvscan": "lvm",
	"usr/bin/vgchange": "lvm", "usr/bin/vgscan": "lvm", "usr/bin/lvchange": "lvm", "usr/bin/poweroff": "init", "usr/bin/shutdown": "init",
	"usr/bin/reboot": "init", "usr/bin/dashboard": "init", "usr/bin/sandboxd": "init", "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
	"etc/ssl/certs/ca-certificates": "ca-certificates.crt", "etc/pki": "/etc/ssl", "usr/share/ca-certificates": "/etc/ssl",
	"usr/local/share/ca-certificates": "/etc/ssl", "etc/ca-certificates": "/etc/ssl",
}

var talosDirs = []string{
	"dev", "proc", "sys", "run/lock", "usr/include", "usr/src", "var/log", "var/mail", "var/spool", "boot/EFI", "etc/iscsi", "etc/nvme",
	"etc/cri/conf.d/hosts", "usr/lib/firmware", "usr/etc", "usr/local/share", "usr/share/zoneinfo/Etc", "mnt", "system", ".extra",
	"etc/kubernetes/manifests", "etc/cni/net.d", "etc/ssl/certs", "usr/libexec/kubernetes", "usr/local/lib/kubelet/credentialproviders",
	"etc/selinux/targeted/contexts/files", "opt/cni/bin", "opt/containerd/bin", "opt/containerd/lib", "usr/share/spdx", "usr/bin", "usr/lib",
	"root", "tmp", "var/tmp", "usr/lib/systemd/network", "usr/share/xfsprogs/mkfs",
}

// talosFiles are files of Talos' root that are in its module: below hack/, and their
// places.
var talosFiles = map[string]string{
	"zoneinfo/Etc/UTC": "usr/share/zoneinfo/Etc/UTC", "nfsmount.conf": "etc/nfsmount.conf", "containerd.toml": "etc/containerd/config.toml",
	"cri-containerd.toml": "etc/cri/containerd.toml", "cri-plugin.part": "etc/cri/conf.d/00-base.part",
	"udevd/99-default.link": "usr/lib/systemd/network/99-default.link", "lvm.conf": "etc/lvm/lvm.conf",
}

// talosEmptyFiles are there for Talos to mount over them.
var talosEmptyFiles = []string{
	"etc/extensions.yaml", "etc/resolv.conf", "etc/hosts", "etc/machine-id", "etc/cri/conf.d/cri.toml", "etc/cri/conf.d/01-registries.part",
	"etc/cri/conf.d/20-customization.part", "etc/cri/conf.d/base-spec.json", "etc/ssl/certs/ca-certificates.crt",
	"etc/selinux/targeted/contexts/files/file_contexts", "etc/iscsi/initiatorname.iscsi", "etc/nvme/hostid", "etc/nvme/hostnqn",
}

// leftOutRules are udev's rules that Talos' own package does not have.
var leftOutRules = regexp.MustCompile(`^(README|60-(cdrom_id|persistent-alsa|persistent-v4l).*|64-btrfs.*|70-.*|71-.*|73-.*|78-.*|80-debian-compat.*|90-vconsole.*|99-systemd.*)$`)

// mkfsXFS is the choice of features by which machined formats: it names files that
// Debian 12's xfsprogs does not have yet.
const mkfsXFS = "[metadata]\nbigtime=1\ncrc=1\nfinobt=1\ninobtcount=1\nreflink=1\nrmapbt=0\n[inode]\nsparse=1\n"

const talosModule = "github.com/siderolabs/talos"

func (b *Builder) talosRootImage(t Talos) string { return b.image(t.module + ".squashfs") }

// buildTalosRoot makes Talos' root image, as Talos' own build lays it out: its
// programs, containerd and runc, the files of its module, and Debian's programs and
// kernel modules in the place of its own packages.
func (b *Builder) buildTalosRoot(ctx context.Context, t Talos, k kernel, userland, userlandKey string, keys map[string]string) (string, error) {
	var key Key
	key.Add("4", userlandKey, k.key, keys[t.Program("machined")], fmt.Sprint(talosHostPrograms, talosLinks, talosDirs, talosFiles, talosEmptyFiles, talosModules, builtins))
	for _, p := range guestPrograms(t.Kubernetes) {
		if p.Dir != "" {
			key.Add(p.Name, p.Dir, keys[p.Name])
		}
	}
	out := b.talosRootImage(t)
	return key.String(), b.step("making Talos' root image", t.module+"-root", key, []string{out}, func() error {
		r := talosRoot{rootTree: rootTree{b: b, dir: filepath.Join(b.Out, "root-talos")}, t: t, userland: userland}
		if err := os.RemoveAll(r.dir); err != nil {
			return err
		}
		defer os.RemoveAll(r.dir)
		if err := r.fill(ctx, k); err != nil {
			return err
		}
		source, err := b.moduleSource(ctx, t, talosModule)
		if err != nil {
			return err
		}
		contexts, err := os.ReadFile(filepath.Join(source, "internal/pkg/selinux/policy/file_contexts"))
		if err != nil {
			return err
		}
		if err := label(r.dir, string(contexts)); err != nil {
			return err
		}
		return squash(ctx, r.dir, out)
	})
}

// buildUserland fetches Debian's programs.
func (b *Builder) buildUserland(ctx context.Context) (string, string, error) {
	return b.fetchPackages(ctx, "userland")
}

// fetchPackages fetches one of deps.sh's lists of Debian's packages.
func (b *Builder) fetchPackages(ctx context.Context, list string) (string, string, error) {
	script := filepath.Join(b.Lab, "deps.sh")
	text, err := os.ReadFile(script)
	if err != nil {
		return "", "", fmt.Errorf("read deps.sh: %w", err)
	}
	var key Key
	key.Add(regexp.MustCompile(`(?m)^`+list+`='[^']*'`).FindAllString(string(text), -1)...)
	dir := filepath.Join(b.Out, list)
	return dir, key.String(), b.step("fetching "+list+" from Debian", list, key, []string{dir}, func() error {
		cmd := exec.CommandContext(ctx, script, list, dir)
		cmd.Env = append(os.Environ(), "LAB_OUT="+b.Out)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("deps.sh %s: %w\n%s", list, err, out)
		}
		return nil
	})
}

type talosRoot struct {
	rootTree
	t        Talos
	userland string
}

func (r talosRoot) fill(ctx context.Context, k kernel) error {
	for _, d := range talosDirs {
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(r.path(d), 0o1777); err != nil {
			return err
		}
	}
	if err := os.Chmod(r.path("root"), 0o750); err != nil {
		return err
	}
	for name, to := range talosLinks {
		if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(to, r.path(name)); err != nil {
			return err
		}
	}
	for _, f := range talosEmptyFiles {
		if err := r.write(f, nil, 0o644); err != nil {
			return err
		}
	}
	for _, f := range []string{"lts_6.12.conf", "lts_6.18.conf"} {
		if err := r.write("usr/share/xfsprogs/mkfs/"+f, []byte(mkfsXFS), 0o644); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{
		r.programs, r.debian, r.udev, r.talos,
		func(ctx context.Context) error { return r.modules(ctx, k, slices.Concat(builtins, talosModules)) },
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// programs are machined, containerd, runc and the CNI plugins.
func (r talosRoot) programs(context.Context) error {
	if err := r.copy(r.b.Bin(r.t.Program("machined")), "usr/bin/init"); err != nil {
		return err
	}
	for _, p := range guestPrograms(r.t.Kubernetes) {
		if p.Dir == "" {
			continue
		}
		if err := r.copy(r.b.Bin(p.Name), filepath.Join(p.Dir, p.Name)); err != nil {
			return err
		}
	}
	return nil
}

// debian puts in Debian's programs and the libraries that they need.
func (r talosRoot) debian(context.Context) error {
	var all []string
	all = append(all, filepath.Join(r.userland, "bin/systemd-hwdb"))
	for from, to := range talosHostPrograms {
		src := filepath.Join(r.userland, from)
		all = append(all, src)
		if err := r.copy(src, "usr/bin/"+to); err != nil {
			return err
		}
	}
	helpers, err := filepath.Glob(filepath.Join(r.userland, "lib/udev/*_id"))
	if err != nil {
		return err
	}
	libs, err := libraries(r.userland, append(all, helpers...)...)
	if err != nil {
		return err
	}
	// cryptsetup's threads load it when they end.
	const unwinder = "libgcc_s.so.1"
	if libs[unwinder], err = findLibrary(r.userland, unwinder); err != nil {
		return err
	}
	for name, src := range libs {
		// The loader finds them all in one directory; ld.so itself has its fixed place.
		to := "usr/lib/" + triplet + "/" + name
		if strings.HasPrefix(name, "ld-linux") {
			to = "usr/lib/" + name
		}
		if err := r.copy(src, to); err != nil {
			return err
		}
	}
	return nil
}

// udev puts in udev's rules and helpers, and its database of hardware, which Debian
// makes when it installs.
func (r talosRoot) udev(ctx context.Context) error {
	from := filepath.Join(r.userland, "lib/udev")
	if err := os.CopyFS(r.path("usr/lib/udev/hwdb.d"), os.DirFS(filepath.Join(from, "hwdb.d"))); err != nil {
		return err
	}
	// With its own libraries: this machine may have none of them.
	if err := command(ctx, "", nil, r.path("usr/lib/"+loader), "--library-path", r.path("usr/lib/"+triplet),
		filepath.Join(r.userland, "bin/systemd-hwdb"), "update", "--usr", "--root="+r.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(r.path("usr/lib/udev/hwdb.d")); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && rel == "hwdb.d":
			return fs.SkipDir
		case d.IsDir(), path.Dir(rel) == "rules.d" && leftOutRules.MatchString(d.Name()):
			return nil
		}
		return r.copy(p, filepath.Join("usr/lib/udev", rel))
	})
}

// talos puts in the files of Talos' modules.
func (r talosRoot) talos(ctx context.Context) error {
	source, err := r.b.moduleSource(ctx, r.t, talosModule)
	if err != nil {
		return err
	}
	machinery, err := r.b.moduleSource(ctx, r.t, "github.com/siderolabs/talos/pkg/machinery")
	if err != nil {
		return err
	}
	files := map[string]string{filepath.Join(machinery, "version/os-release"): "etc/os-release"}
	for from, to := range talosFiles {
		files[filepath.Join(source, "hack", from)] = to
	}
	rules, err := filepath.Glob(filepath.Join(source, "hack/udevd/*.rules"))
	if err != nil || len(rules) == 0 {
		return fmt.Errorf("no udev rules below %s: %w", source, errors.Join(err, fs.ErrNotExist))
	}
	for _, f := range rules {
		files[f] = "usr/lib/udev/rules.d/" + filepath.Base(f)
	}
	for from, to := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := r.write(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// moduleSource is where the Go command has the files of a module.
func (b *Builder) moduleSource(ctx context.Context, t Talos, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join(b.Lab, "build", t.module)
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask where module %s is: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

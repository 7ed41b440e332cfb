package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

type mountPoint struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func (m mountPoint) mount() error {
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", m.source, m.fstype, m.target, err)
	}
	return nil
}

func mountAll(points []mountPoint) error {
	for _, m := range points {
		if err := os.MkdirAll(m.target, 0o755); err != nil && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("make mount point: %w", err)
		}
		if err := m.mount(); err != nil {
			return err
		}
	}
	return nil
}

// disk finds a virtio disk by the serial that the host gave it.
func disk(serial string) (string, error) {
	dirs, _ := filepath.Glob("/sys/block/vd*")
	for _, d := range dirs {
		b, err := os.ReadFile(filepath.Join(d, "serial"))
		if err == nil && strings.TrimSpace(string(b)) == serial {
			return "/dev/" + filepath.Base(d), nil
		}
	}
	return "", fmt.Errorf("no virtio disk with serial %q among %v", serial, dirs)
}

// enterRoot loads the modules of the initramfs, mounts the root filesystem and
// makes it the root of this process, as switch_root does. The binary of the
// initramfs stays PID 1, so that a changed PID 1 does not need a new root image.
func enterRoot() error {
	if err := mountAll([]mountPoint{
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	}); err != nil {
		return err
	}
	list, err := os.ReadFile("/modules/order")
	if err != nil {
		return fmt.Errorf("read module list: %w", err)
	}
	for _, m := range strings.Fields(string(list)) {
		if err := insmod(filepath.Join("/modules", m)); err != nil {
			return err
		}
	}
	root, err := disk("root")
	if err != nil {
		return err
	}
	if err := mountAll([]mountPoint{{root, "/root", "squashfs", unix.MS_RDONLY, ""}}); err != nil {
		return err
	}
	for _, d := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(d, "/root"+d, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the new root: %w", d, err)
		}
	}
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}

func insmod(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", filepath.Base(path), err)
	}
	return nil
}

// mountBase mounts what is there before any service. /var is left as the empty
// directory of the read-only root, as it is on Talos at this point.
func mountBase() error {
	const tmp = unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make / shared: %w", err)
	}
	if err := mountAll([]mountPoint{
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "ptmxmode=000,mode=620,gid=5"},
		{"tmpfs", "/dev/shm", "tmpfs", tmp, ""},
		{"mqueue", "/dev/mqueue", "mqueue", tmp | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", tmp, "mode=755"},
		{"tmpfs", "/system", "tmpfs", 0, "mode=755"},
		{"tmpfs", "/tmp", "tmpfs", tmp, "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "nsdelegate"},
	}); err != nil {
		return err
	}
	for _, d := range []string{"/run/lab/log", "/run/lock", "/system/state", "/system/overlays", "/system/run"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for name, dest := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(dest, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return cgroups()
}

// cgroups makes Talos' top-level groups with all controllers handed down.
func cgroups() error {
	const top = "/sys/fs/cgroup"
	b, err := os.ReadFile(top + "/cgroup.controllers")
	if err != nil {
		return err
	}
	var enable []string
	for _, c := range strings.Fields(string(b)) {
		enable = append(enable, "+"+c)
	}
	all := []byte(strings.Join(enable, " "))
	for _, g := range []string{"", "/system", "/system/extensions", "/podruntime"} {
		if err := os.MkdirAll(top+g, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(top+g+"/cgroup.subtree_control", all, 0o644); err != nil {
			return fmt.Errorf("enable controllers of cgroup %q: %w", g, err)
		}
	}
	for _, g := range []string{"/podruntime/runtime", "/podruntime/kubelet"} {
		if err := os.MkdirAll(top+g, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// mountVar mounts the writable disk and what Talos lays over the read-only root
// once it is there.
func mountVar() error {
	dev, err := disk("var")
	if err != nil {
		return err
	}
	if err := mountAll([]mountPoint{{dev, "/var", "ext4", unix.MS_NOSUID | unix.MS_NODEV, "noinit_itable"}}); err != nil {
		return err
	}
	for _, d := range []string{"/var/lib/kubelet", "/var/lib/cni", "/var/lib/lab", "/var/log/pods", "/var/log/containers", "/var/tmp"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", "/var/run"); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, d := range []string{"/opt", "/etc/cni", "/etc/kubernetes"} {
		// The names are Talos' own: /var/system/overlays/etc-cni-diff.
		base := "/var/system/overlays/" + strings.ReplaceAll(strings.TrimPrefix(d, "/"), "/", "-")
		if err := overlay(d, base); err != nil {
			return err
		}
	}
	return nil
}

// overlay makes dir writable, with what is written in base-diff.
func overlay(dir, base string) error {
	upper, work := base+"-diff", base+"-workdir"
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	return mountPoint{"overlay", dir, "overlay", 0, opts}.mount()
}

// unmountWait detaches a mount point whose users are ending.
func unmountWait(target string, d time.Duration) error {
	deadline := time.Now().Add(d)
	for {
		err := unix.Unmount(target, 0)
		if err == nil || errors.Is(err, unix.EINVAL) || time.Now().After(deadline) {
			return err
		}
		<-time.After(20 * time.Millisecond)
	}
}

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kubeletRoot is the root filesystem of the kubelet's container in the root image.
const kubeletRoot = "/usr/share/lab/kubelet"

// kubeletArg is the first argument of this program when it is to become the kubelet.
const kubeletArg = "kubelet"

// startKubelet puts the kubelet's files where Talos has them and starts it.
func (n *Node) startKubelet(context.Context) error {
	for _, dir := range []string{"/usr/share/lab/kubernetes", stateDir + "/kubernetes"} {
		if err := copyTree(dir, "/etc/kubernetes"); err != nil {
			return err
		}
	}
	if err := copyTree("/usr/share/lab/cni", "/etc/cni/net.d"); err != nil {
		return err
	}
	name, err := os.ReadFile(stateDir + "/hostname")
	if err != nil {
		return err
	}
	n.kubelet = &service{n: n, name: "kubelet", cgroup: "/podruntime/kubelet", mounts: true, argv: []string{
		"/proc/self/exe", kubeletArg,
		"/usr/local/bin/kubelet",
		"--config=/etc/kubernetes/kubelet.yaml",
		"--kubeconfig=/etc/kubernetes/kubeconfig",
		"--hostname-override=" + strings.TrimSpace(string(name)),
		"--node-ip=10.0.2.15",
		"--cert-dir=/var/lib/kubelet/pki",
		"--v=2",
	}}
	n.kubelet.startService()
	return nil
}

// Kubelet makes this process, which has a mount namespace to itself, the kubelet in the
// container that Talos gives it (internal/app/machined/pkg/system/services/kubelet.go):
// its image's root, of the host what is mounted into it, and of /var therefore only
// its own directories. It returns only with an error. false means that args are not
// for it.
func Kubelet(args []string) (bool, error) {
	if len(args) < 3 || args[1] != kubeletArg {
		return false, nil
	}
	for _, d := range []string{"/", kubeletRoot} {
		if d != "/" {
			if err := unix.Mount(d, d, "", unix.MS_BIND, ""); err != nil {
				return true, fmt.Errorf("bind the kubelet's root: %w", err)
			}
		}
		// This mount alone: what is mounted in it must not appear on the host, and
		// what is bound into it keeps its own propagation.
		if err := unix.Mount("", d, "", unix.MS_PRIVATE, ""); err != nil {
			return true, fmt.Errorf("make %s private: %w", d, err)
		}
	}
	for _, m := range []struct {
		path, to    string
		propagation uintptr
	}{
		{"/proc", "", unix.MS_SLAVE}, {"/sys", "", unix.MS_SLAVE}, {"/dev", "", unix.MS_SHARED},
		{"/run", "/var/run", unix.MS_SLAVE},
		{"/usr/lib/modules", "", unix.MS_SLAVE}, {"/etc/kubernetes", "", unix.MS_SHARED}, {"/etc/cni", "", unix.MS_SHARED},
		{"/etc/hosts", "", unix.MS_SLAVE}, {"/etc/resolv.conf", "", unix.MS_SLAVE}, {"/etc/os-release", "", unix.MS_SLAVE}, {"/etc/machine-id", "", unix.MS_SLAVE},
		{"/var/lib/containerd", "", unix.MS_SHARED}, {"/var/lib/kubelet", "", unix.MS_SHARED},
		{"/var/log/pods", "", unix.MS_SHARED}, {"/var/log/containers", "", unix.MS_SHARED},
	} {
		if err := bindInto(m.path, m.to, m.propagation); err != nil {
			return true, err
		}
	}
	if err := (mountPoint{"tmpfs", kubeletRoot + "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, ""}).mount(); err != nil {
		return true, err
	}
	if err := errors.Join(unix.Chroot(kubeletRoot), os.Chdir("/")); err != nil {
		return true, fmt.Errorf("enter the kubelet's root: %w", err)
	}
	return true, fmt.Errorf("become %s: %w", args[2], unix.Exec(args[2], args[2:], toolEnv))
}

// bindInto binds a path of the host, with what is mounted below it, into the kubelet's
// root, under another name if to is one. A runtime follows links of the root, so that
// what is meant for /var/run is at /run.
func bindInto(path, to string, propagation uintptr) error {
	if to == "" {
		to = path
	}
	target := kubeletRoot + to
	if link, err := os.Readlink(target); err == nil {
		target = filepath.Join(kubeletRoot, link)
	}
	if err := unix.Mount(path, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", path, target, err)
	}
	if err := unix.Mount("", target, "", propagation|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("set the propagation of %s: %w", target, err)
	}
	return nil
}

// copyTree copies the files of a directory that has no subdirectories.
func copyTree(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

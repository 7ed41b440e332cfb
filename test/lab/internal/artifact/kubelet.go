package artifact

import (
	"context"
	"os"
	"path/filepath"
)

// kubeletRoot is the root filesystem of the kubelet's container in the root image,
// with what Talos' kubelet image has of it: /var/run is a link to /run.
const kubeletRoot = "usr/share/lab/kubelet"

// kubelet makes the root of the kubelet's container: what is mounted into it, and the
// programs that the kubelet calls.
func (r rootTree) kubelet(context.Context) error {
	for _, d := range []string{
		"dev", "proc", "sys", "run", "tmp", "etc/kubernetes", "etc/cni", "usr/bin", "usr/lib/modules", "var/lib/kubelet",
		"var/lib/containerd", "var/log/pods", "var/log/containers",
	} {
		if err := os.MkdirAll(r.path(filepath.Join(kubeletRoot, d)), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{"passwd", "group", "nsswitch.conf", "hosts", "resolv.conf", "os-release", "machine-id"} {
		if err := os.Link(r.path("etc/"+f), r.path(filepath.Join(kubeletRoot, "etc", f))); err != nil {
			return err
		}
	}
	if err := os.Link(r.path("usr/bin/busybox"), r.path(kubeletRoot+"/usr/bin/busybox")); err != nil {
		return err
	}
	for name, to := range map[string]string{
		"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "var/run": "/run", "usr/bin/mount": "busybox", "usr/bin/umount": "busybox",
	} {
		if err := os.Symlink(to, r.path(filepath.Join(kubeletRoot, name))); err != nil {
			return err
		}
	}
	return nil
}

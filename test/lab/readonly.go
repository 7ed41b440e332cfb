package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// writable are the places that a Talos node lets anybody write to. /opt,
// /etc/cni and /etc/kubernetes are overlays whose writes are in /var.
var writable = []string{"/var", "/run", "/system", "/tmp", "/sys", "/proc", "/dev", "/opt", "/etc/cni", "/etc/kubernetes"}

// CheckReadOnly returns an error when the guest's root filesystem could have
// been written to: its file system is not a read-only one, or something
// writable is mounted where a Talos node has nothing writable.
func (n *Node) CheckReadOnly(ctx context.Context) error {
	mounts, err := n.Exec(ctx, "cat /proc/1/mounts")
	if err != nil {
		return err
	}
	errs := []error{readOnlyMounts(mounts)}
	// The mount table could lie about what a mount flag hides: try it.
	out, err := n.Exec(ctx, `for d in / /etc /usr /usr/bin /usr/local /usr/local/lib /lib/modules /root /mnt; do
  if ( : > "$d/lab-probe" ) 2>/dev/null; then echo "$d"; rm -f "$d/lab-probe"; fi
done`)
	if err != nil {
		return err
	}
	if w := strings.Fields(out); len(w) > 0 {
		errs = append(errs, fmt.Errorf("a file could be made in %s", strings.Join(w, ", ")))
	}
	return errors.Join(errs...)
}

// readOnlyMounts judges a mount table.
func readOnlyMounts(table string) error {
	var errs []error
	root := false
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		target, fstype, ro := f[1], f[2], strings.HasPrefix(f[3], "ro,") || f[3] == "ro"
		if target == "/" {
			root = true
			if fstype != "squashfs" || !ro {
				errs = append(errs, fmt.Errorf("/ is %s with %s, want a read-only squashfs", fstype, f[3]))
			}
		}
		// The overlay that Talos puts over a service's root filesystem is a tmpfs
		// below /system, and the container sees it read-only.
		if ro || fstype == "squashfs" || strings.HasPrefix(target, "/usr/local/lib/containers/") {
			continue
		}
		if !below(target) {
			errs = append(errs, fmt.Errorf("%s (%s) is mounted writable on %s", f[0], fstype, target))
		}
	}
	if !root {
		errs = append(errs, errors.New("the mount table has no /"))
	}
	return errors.Join(errs...)
}

func below(target string) bool {
	for _, w := range writable {
		if target == w || strings.HasPrefix(target, w+"/") {
			return true
		}
	}
	return false
}

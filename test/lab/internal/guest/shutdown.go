package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// unmountRecord is where the record of a shutdown outlives the boot.
const unmountRecord = stateDir + "/unmount.json"

// Unmounted is what became of the disk with /var when the node was shut down, while the
// extension services were still running, as they are on Talos.
type Unmounted struct {
	BootID string `json:"bootID"`
	// Error is why something could not be unmounted within unmountLimit, empty if all
	// was.
	Error string `json:"error,omitempty"`
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
	// Disk is why the disk could not be opened for one user alone within unmountLimit
	// after that, as closing an encrypted volume, wiping and reset need it; empty if it
	// could. DiskSeconds is how long that took.
	Disk        string  `json:"disk,omitempty"`
	DiskSeconds float64 `json:"diskSeconds"`
	// Held are mounts that keep it in use, of one process for each mount namespace.
	Held []string `json:"held,omitempty"`
}

// unmountLimit is how long an unmount is tried. Talos tries for five minutes, and the
// node stands still for as long.
const unmountLimit = 5 * time.Second

// writable are the directories that mountVar lays something over, and /var.
var writable = []string{"/opt", "/etc/cni", "/etc/kubernetes", "/var"}

// unmountVar stops what Talos stops before it unmounts EPHEMERAL (phase
// StopServicesEphemeral: the kubelet, the CRI and what depends on them; pods), then
// unmounts it. Extension services without dependencies run on.
func (n *Node) unmountVar() Unmounted {
	n.ev.add("shutdown", "services stop")
	if n.kubelet != nil {
		n.kubelet.stopService()
	}
	var wg sync.WaitGroup
	for _, x := range n.extensions {
		if len(x.spec.Depends) > 0 {
			wg.Go(x.stopService)
		}
	}
	if n.containerd != nil {
		n.containerd.stopService()
	}
	wg.Wait()
	// Pods and their shims outlive their runtime.
	killCgroups("/kubepods", "/podruntime")
	unix.Sync()

	var u Unmounted
	if st, err := n.status(); err == nil {
		u.BootID = st.BootID
	}
	start := time.Now()
	err := unmountTree(start.Add(unmountLimit))
	u.Seconds = time.Since(start).Seconds()
	if err != nil {
		u.Error = err.Error()
	}
	start = time.Now()
	for err = openAlone("var"); errors.Is(err, unix.EBUSY) && time.Since(start) < unmountLimit; err = openAlone("var") {
		<-time.After(10 * time.Millisecond)
	}
	u.DiskSeconds = time.Since(start).Seconds()
	if err != nil {
		u.Disk = err.Error()
		u.Held = holders("var")
	}
	n.ev.add("unmount", "%+v", u)
	b, err := json.Marshal(u)
	if err == nil {
		err = writeDurably(unmountRecord, b)
	}
	if err != nil {
		n.ev.add("unmount-record-failed", "%v", err)
	}
	return u
}

// killCgroups kills every process in the groups and waits until they are gone.
func killCgroups(groups ...string) {
	for _, g := range groups {
		// A group that is not there has no processes.
		_ = os.WriteFile("/sys/fs/cgroup"+g+"/cgroup.kill", []byte("1"), 0)
	}
	for _, g := range groups {
		for deadline := time.Now().Add(stopGrace); time.Now().Before(deadline); {
			b, err := os.ReadFile("/sys/fs/cgroup" + g + "/cgroup.events")
			if err != nil || strings.Contains(string(b), "populated 0") {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
	}
}

// mount_ is a line of mountinfo.
type mount_ struct{ point, fstype, source, options string }

// mounts are the mounts of a process, PID or "self", in their order.
func mounts(pid string) ([]mount_, error) {
	b, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []mount_
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		f, super := strings.Fields(before), strings.Fields(after)
		if len(f) > 4 && len(super) > 2 {
			all = append(all, mount_{point: f[4], fstype: super[0], source: super[1], options: super[2]})
		}
	}
	return all, nil
}

// unmountTree unmounts what is mounted on the writable directories and below them, the
// latest first, and the root filesystems of pods, which are below /run.
func unmountTree(deadline time.Time) error {
	all, err := mounts("self")
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	var errs []error
	for _, m := range slices.Backward(all) {
		ours := slices.ContainsFunc(append([]string{"/run/containerd"}, writable...), func(d string) bool {
			return m.point == d || strings.HasPrefix(m.point, d+"/")
		})
		if !ours {
			continue
		}
		if err := unmountWait(m.point, time.Until(deadline)); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s (%s): %w", m.point, m.fstype, err))
		}
	}
	return errors.Join(errs...)
}

// openAlone opens a disk as a filesystem or a volume manager would, for itself alone.
func openAlone(serial string) error {
	dev, err := disk(serial)
	if err != nil {
		return err
	}
	fd, err := unix.Open(dev, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s alone: %w", dev, err)
	}
	return unix.Close(fd)
}

// holders are the mounts of a disk, and the overlays with files of it, in all mount
// namespaces that have a process.
func holders(serial string) []string {
	dev, err := disk(serial)
	if err != nil {
		return nil
	}
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	var out []string
	for _, p := range pids {
		ns, err := os.Readlink(p + "/ns/mnt")
		if err != nil || seen[ns] {
			continue
		}
		seen[ns] = true
		all, err := mounts(filepath.Base(p))
		if err != nil {
			continue
		}
		name, err := os.ReadFile(p + "/comm")
		if err != nil {
			continue
		}
		for _, m := range all {
			if m.source == dev || m.fstype == "overlay" && strings.Contains(m.options, "upperdir=/var/") {
				out = append(out, fmt.Sprintf("%s on %s of %s (pid %s)", m.fstype, m.point, strings.TrimSpace(string(name)), filepath.Base(p)))
			}
		}
	}
	return out
}

// shutdown ends the boot: unmountVar, then the services that ran on, and leaves the
// disks clean.
func (n *Node) shutdown() {
	n.unmountVar()
	var wg sync.WaitGroup
	for _, x := range n.extensions {
		wg.Go(x.stopService)
	}
	wg.Wait()
	_ = unix.Kill(-1, unix.SIGKILL)
	<-time.After(100 * time.Millisecond)
	unix.Sync()
	for _, d := range append(slices.Clone(writable), stateDir) {
		_ = unix.Unmount(d, unix.MNT_DETACH)
	}
	unix.Sync()
	n.ev.add("shutdown", "done")
}

package readmission

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// makeCgroups makes the cgroup of the node's pods, in each hierarchy.
func (n *node) makeCgroups() {
	n.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	n.must(err)
	for m := range strings.Lines(string(mounts)) {
		// A device, where it is mounted, and the kind.
		f := strings.Fields(m)
		if !strings.HasPrefix(f[2], "cgroup") {
			continue
		}
		dir := filepath.Join(f[1], n.cgroup)
		n.must(os.Mkdir(dir, 0o755))
		n.cgroups = append(n.cgroups, dir)
		n.t.Cleanup(func() {
			if err := removeCgroups(dir); err != nil {
				n.t.Errorf("remove the cgroups of the pods: %v", err)
			}
		})
		// An empty set has room for no process, and is inherited.
		for _, set := range []string{"cpuset.cpus", "cpuset.mems"} {
			all, err := os.ReadFile(filepath.Join(f[1], set))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			n.must(err)
			n.must(os.WriteFile(filepath.Join(dir, set), all, 0o644))
		}
	}
	if len(n.cgroups) == 0 {
		n.t.Skip("this machine has no cgroups")
	}
}

// below are the directories in a directory.
func below(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	return dirs, nil
}

// emptyCgroups removes what is below a cgroup, which has no processes.
func emptyCgroups(dir string) error {
	dirs, err := below(dir)
	for _, d := range dirs {
		err = errors.Join(err, removeCgroups(d))
	}
	return err
}

// removeCgroups removes a cgroup and what is below it.
func removeCgroups(dir string) error {
	return errors.Join(emptyCgroups(dir), unix.Rmdir(dir))
}

// containers are the processes in the cgroup of the pods.
func (n *node) containers() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(n.cgroups[0], func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a container's that has ended
		}
		if err != nil || !d.IsDir() {
			return err
		}
		procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return err
		}
		for _, text := range strings.Fields(string(procs)) {
			pid, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			pids = append(pids, pid)
		}
		return nil
	})
	return pids, err
}

// killContainers ends every container and sandbox, and waits until containerd knows it,
// which removes their cgroups.
func (n *node) killContainers() {
	n.t.Helper()
	pids, err := n.containers()
	n.must(err)
	if len(pids) == 0 {
		n.t.Fatal("the pods have no processes")
	}
	for _, pid := range pids {
		// A container may end when its sandbox does.
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			n.t.Fatal(err)
		}
	}
	n.wait("wait for the containers' end", often, func() (bool, error) {
		// kubepods, a class, a pod, a container.
		left, err := filepath.Glob(filepath.Join(n.cgroups[0], "*/*/*/*/cgroup.procs"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d have a cgroup", len(left))
		}
		return err == nil, err
	})
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agent"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/kube"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/sparse"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

const (
	// keepSnapshots is how many saved states are kept; each is about a gigabyte.
	keepSnapshots = 2
	// maxAge is how old a saved state may be: apid's certificate in it is valid for a
	// day, and not renewed while nothing runs.
	maxAge = 20 * time.Hour
)

// ensureSnapshot gives the directory with a saved node: booted, without a document and
// VFs, its kubelet Ready. It makes one if there is none that fits. The state belongs
// to the very files of that boot, so links to these are kept with it.
func (n *Node) ensureSnapshot(ctx context.Context) (string, error) {
	unlock, err := n.b.Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	id, err := n.identity(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(n.b.Out, "snapshot-talos", id)
	if fi, err := os.Stat(filepath.Join(dir, "complete")); err == nil && time.Since(fi.ModTime()) < maxAge {
		now := time.Now()
		return dir, os.Chtimes(dir, now, now)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("remove a saved state: %w", err)
	}
	if err := prune(filepath.Dir(dir), keepSnapshots-1); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory for saved state: %w", err)
	}
	kept := *n
	for to, from := range map[string]*string{"kernel": &kept.img.Kernel, "initramfs": &kept.img.Initramfs} {
		link := filepath.Join(dir, to)
		if err := os.Link(*from, link); err != nil {
			return "", fmt.Errorf("keep the files of the saved state: %w", err)
		}
		*from = link
	}
	if err := kept.started(ctx, "first boot", kept.bootFresh); err != nil {
		return "", err
	}
	defer kept.Close()
	if err := kept.warm(ctx); err != nil {
		return "", fmt.Errorf("run a pod before the node is saved: %w", err)
	}
	if err := kept.save(ctx, dir); err != nil {
		return "", fmt.Errorf("save the booted node: %w", err)
	}
	return dir, os.WriteFile(filepath.Join(dir, "complete"), nil, 0o600)
}

// warm runs a pod, so that a restored node has what pods need in its memory.
func (n *Node) warm(ctx context.Context) error {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: warm}\nspec:\n  terminationGracePeriodSeconds: 0\n" +
		"  containers: [{name: c, image: " + artifact.BusyboxImage + ", command: [sleep, \"1000\"]}]\n"
	if err := n.Apply(ctx, pod); err != nil {
		return err
	}
	if _, err := n.WaitPod(ctx, "warm", "running", func(p kube.Pod) bool { return p.Ready() }); err != nil {
		return err
	}
	return n.DeletePods(ctx)
}

func (n *Node) save(ctx context.Context, dir string) error {
	if _, err := n.Exec(ctx, "sync"); err != nil {
		return err
	}
	n.agent.Drop()
	if err := n.mon.Save(ctx, filepath.Join(dir, "memory")); err != nil {
		return err
	}
	n.vm.Kill()
	// etcd goes with it: the kubelet knows versions of objects.
	n.cp.Stop()
	if err := sparse.CopyDir(filepath.Join(n.dir, "control-plane/etcd"), filepath.Join(dir, "etcd")); err != nil {
		return err
	}
	for from, to := range map[string]string{n.machine.Disk: "disk.raw", filepath.Join(n.dir, "talosconfig"): "talosconfig"} {
		if err := sparse.CopyFile(from, filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	return nil
}

// restore starts the node from a saved state.
func (n *Node) restore(ctx context.Context, snap string) error {
	n.machine.Kernel, n.machine.Initramfs = filepath.Join(snap, "kernel"), filepath.Join(snap, "initramfs")
	n.machine.Incoming = filepath.Join(snap, "memory")
	if err := sparse.CopyDir(filepath.Join(snap, "etcd"), filepath.Join(n.dir, "control-plane/etcd")); err != nil {
		return fmt.Errorf("copy etcd's data: %w", err)
	}
	awaitControlPlane := n.startControlPlane(ctx)
	err := n.loadVM(ctx, snap)
	if err := errors.Join(err, awaitControlPlane()); err != nil {
		return err
	}
	if err := n.mon.Resume(ctx); err != nil {
		return err
	}
	// The guest's clock stood still. The guest may take this connection for the end of
	// the one that it had when it was saved.
	if err := proc.Poll(ctx, "set the guest's clock", 100*time.Millisecond, func() (bool, error) {
		err := n.agent.Value(ctx, wire.Request{Op: "clock", UnixNano: time.Now().UnixNano()}, nil)
		if err != nil && !errors.Is(err, agent.ErrLost) {
			return false, &proc.Permanent{Err: err}
		}
		return err == nil, err
	}); err != nil {
		return err
	}
	return n.awaitReady(ctx, "")
}

// loadVM starts the machine, which waits with the saved state in its memory.
func (n *Node) loadVM(ctx context.Context, snap string) error {
	for from, to := range map[string]string{"disk.raw": n.machine.Disk, "talosconfig": filepath.Join(n.dir, "talosconfig")} {
		if err := sparse.CopyFile(filepath.Join(snap, from), to); err != nil {
			return err
		}
	}
	return errors.Join(n.startVM(ctx), n.setEndpoint(ctx))
}

// prune removes the least recently used saved states.
func prune(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read saved states: %w", err)
	}
	for len(entries) > keep {
		oldest := 0
		for i, e := range entries {
			a, errA := e.Info()
			b, errB := entries[oldest].Info()
			if errA == nil && errB == nil && a.ModTime().Before(b.ModTime()) {
				oldest = i
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, entries[oldest].Name())); err != nil {
			return fmt.Errorf("remove a saved state: %w", err)
		}
		entries = append(entries[:oldest], entries[oldest+1:]...)
	}
	return nil
}

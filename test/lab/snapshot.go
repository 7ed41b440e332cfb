package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/agent"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/sparse"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/wire"
)

// keepSnapshots is how many saved states are kept; each is about half a gigabyte.
const keepSnapshots = 4

// ensureSnapshot saves a booted node unless it was saved before: extension
// running without a document, no VF, kubelet Ready. The state belongs to the
// very files of that boot, so links to these are kept with it.
func ensureSnapshot(ctx context.Context, b *artifact.Builder, opts Options, p parts, dir string) error {
	unlock, err := b.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		now := time.Now()
		return os.Chtimes(dir, now, now)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove unfinished saved state: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory for saved state: %w", err)
	}
	prune(filepath.Dir(dir), keepSnapshots)
	for name, from := range map[string]string{
		"kernel": p.images.Kernel, "initramfs": p.images.Initramfs, "root": p.images.Root, "extension": p.extension,
	} {
		if err := os.Link(from, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("keep the files of the saved state: %w", err)
		}
	}
	opts.Document = ""
	n, err := startFresh(ctx, b, opts, p.in(dir))
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.save(ctx, dir); err != nil {
		return fmt.Errorf("save the booted node: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644)
}

// in gives the same parts as they are kept with a saved state.
func (p parts) in(dir string) parts {
	p.images.Kernel = filepath.Join(dir, "kernel")
	p.images.Initramfs = filepath.Join(dir, "initramfs")
	p.images.Root = filepath.Join(dir, "root")
	p.extension = filepath.Join(dir, "extension")
	return p
}

func (n *Node) save(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	// Pages of the boot that nobody needs would be saved and read again.
	if _, err := n.Exec(ctx, "sync; echo 3 > /proc/sys/vm/drop_caches"); err != nil {
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
	for name, from := range map[string]string{"var.img": n.machine.Var, "state.img": n.machine.State} {
		if err := sparse.CopyFile(from, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// restore starts a node from a saved state.
func restore(ctx context.Context, b *artifact.Builder, opts Options, p parts, snap string) (*Node, error) {
	n, err := newNode(b, opts, p.in(snap))
	if err != nil {
		return nil, err
	}
	if err := n.restoreFrom(ctx, p, snap); err != nil {
		dir := n.keepLogs(context.WithoutCancel(ctx), "restore-"+filepath.Base(n.dir))
		n.Close()
		return nil, fmt.Errorf("restore the node (logs in %s): %w", dir, err)
	}
	return n, nil
}

func (n *Node) restoreFrom(ctx context.Context, p parts, snap string) error {
	start := time.Now()
	if err := sparse.CopyDir(filepath.Join(snap, "etcd"), filepath.Join(n.dir, "control-plane/etcd")); err != nil {
		return fmt.Errorf("copy etcd's data: %w", err)
	}
	if err := n.startControlPlane(ctx, p.pki)(); err != nil {
		return err
	}
	if err := n.restoreVM(ctx, snap); err != nil {
		return err
	}
	if err := n.WaitReady(ctx); err != nil {
		return err
	}
	fmt.Fprintf(n.opts.Log, "lab: restored %s ... %ds\n", n.opts.Name, int(time.Since(start).Seconds()))
	return nil
}

// restoreVM starts the machine from the saved state.
func (n *Node) restoreVM(ctx context.Context, snap string) error {
	ctx, cancel := context.WithTimeout(ctx, resumeTimeout)
	defer cancel()
	for name, to := range map[string]string{"var.img": n.machine.Var, "state.img": n.machine.State} {
		if err := sparse.CopyFile(filepath.Join(snap, name), to); err != nil {
			return err
		}
	}
	n.machine.Incoming = filepath.Join(snap, "memory")
	if err := n.startVM(ctx, n.cp.Port()); err != nil {
		return err
	}
	if err := n.mon.Resume(ctx); err != nil {
		return err
	}
	// The guest's clock stood still. The guest may take this connection for the
	// end of the one that it had when it was saved.
	if err := proc.Poll(ctx, "set the guest's clock", 100*time.Millisecond, func() (bool, error) {
		err := n.agent.Value(ctx, wire.Request{Op: "clock", UnixNano: time.Now().UnixNano()}, nil)
		if err != nil && !errors.Is(err, agent.ErrLost) {
			return false, &proc.Permanent{Err: err}
		}
		return err == nil, err
	}); err != nil {
		return err
	}
	st, err := n.Status(ctx)
	if err != nil {
		return err
	}
	n.boot = st.BootID
	return nil
}

// prune removes the least recently used saved states.
func prune(dir string, keep int) {
	entries, _ := os.ReadDir(dir)
	sort.Slice(entries, func(i, j int) bool {
		a, _ := entries[i].Info()
		b, _ := entries[j].Info()
		return a != nil && b != nil && a.ModTime().After(b.ModTime())
	})
	for i, e := range entries {
		if i >= keep {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

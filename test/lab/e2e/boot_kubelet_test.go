package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

const otherResource = "example.com/other"

// The whole way from a document to a pod and back to an unmounted /var, with each of
// the lab's kubelets, and by both ways in which a kubelet finds a plugin.
func TestKubelet136(t *testing.T) { thinPath(t, lab.Kubelets()[0], "device-plugins") }
func TestKubelet137(t *testing.T) { thinPath(t, lab.Kubelets()[1], "device-plugins") }

func TestKubelet136PluginWatcher(t *testing.T) {
	thinPath(t, lab.Kubelets()[0], "plugins_registry", "-plugin-watcher")
}

func TestKubelet137PluginWatcher(t *testing.T) {
	thinPath(t, lab.Kubelets()[1], "plugins_registry", "-plugin-watcher")
}

// thinPath boots a node with a kubelet of that version whose extension has its sockets
// in the kubelet's directory dir.
func thinPath(t *testing.T, version, dir string, args ...string) {
	t.Helper()
	opts := lab.Options{Kubelet: version, Document: patch(vfs(pfA, 4) +
		fmt.Sprintf("\n  - match: {pciAddresses: [%q]}\n    numVFs: 2\n    resourceName: %s", pfB, otherResource))}
	if len(args) > 0 {
		opts.Extension = variant(t, args...)
	}
	n := boot(t, opts)
	k, err := n.KubeNode(n.ctx())
	n.must(err)
	if got := k.Status.NodeInfo.KubeletVersion; got != version {
		t.Fatalf("the node's kubelet is %s, want %s", got, version)
	}
	n.offered(nil)
	if a, b := n.numVFs(pfA), n.numVFs(pfB); a != 4 || b != 2 {
		t.Errorf("%d and %d VFs, want 4 and 2", a, b)
	}
	n.dialledThroughLinks(dir)
	n.pod("first", 1)
	n.running("first")
	vf := n.env("first", env)
	n.checkVF(vf, pfA)
	n.checkInfo("first", vf)

	// To the same kubelet a second instance registers.
	before := n.daemon()
	n.offered(func() { n.must(n.Service(ext).Restart(n.ctx())) })
	if after := n.daemon(); after.PID == before.PID || after.Starts != before.Starts+1 {
		t.Errorf("the service was not restarted once: %+v, was %+v", after, before)
	}
	n.dialledThroughLinks(dir)
	n.podOf("second", otherResource, 2)
	n.running("second")

	n.offered(func() { n.must(n.Service("kubelet").Restart(n.ctx())) })
	n.dialledThroughLinks(dir)
	n.pod("third", 3) // all that the first left
	n.running("third")
	for _, addr := range strings.Split(n.env("third", env), ",") {
		n.checkVF(addr, pfA)
		if addr == vf {
			t.Errorf("the VF %s of the first pod was given to another", vf)
		}
	}
	if p := n.running("first"); p.Status.Containers[0].RestartCount != 0 {
		t.Errorf("the first pod was restarted %d times", p.Status.Containers[0].RestartCount)
	}

	// This instance was started after /var was mounted, and has it as a bind of its own.
	pid := n.daemon().PID
	u, err := n.UnmountVar(n.ctx())
	n.must(err)
	n.checkUnmounted(u)
	if got := n.daemon(); got.State != "Running" {
		t.Errorf("the service did not run on: %+v, its pid was %d", got, pid)
	}
}

// offered waits until both pools are registered, once more after what do does if that is
// not nil, and until what is in them is allocatable: 4 and 2.
func (n *node_) offered(do func()) {
	n.t.Helper()
	registered := func(ctx context.Context) (int, error) {
		log, err := n.Service(ext).Log(ctx)
		return strings.Count(log, "registered with the kubelet"), err
	}
	have := 0 // in this boot
	if do != nil {
		var err error
		have, err = registered(n.ctx())
		n.must(err)
		do()
	}
	n.must(n.WaitFor(n.ctx(), "wait for both pools to be registered", func(ctx context.Context) (bool, error) {
		now, err := registered(ctx)
		if err == nil && now < have+2 {
			err = fmt.Errorf("%d registrations of 2", now-have)
		}
		return err == nil, err
	}))
	n.allocatable(4)
	n.must(n.WaitAllocatable(n.ctx(), otherResource, 2))
}

// dialledThroughLinks asserts that what the kubelet finds of ours in its directory are
// links to sockets that are not on the filesystem of /var: such a socket would keep it
// mounted for as long as it listens. The caller has seen that the kubelet has the
// devices, and it has no other way to them.
func (n *node_) dialledThroughLinks(dir string) {
	n.t.Helper()
	dir = filepath.Join("/var/lib/kubelet", dir)
	out := n.run(`cd ` + dir + ` && for f in *; do
	[ -L $f ] || [ -S $f ] || continue
	[ $f != kubelet.sock ] || continue
	kind=file; [ ! -L $f ] || kind=link
	[ -S $f ] || kind=dangling
	echo $f $kind $(readlink -f $f)
done`)
	links := 0
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 || f[1] != "link" || !strings.HasPrefix(f[2], "/run/") {
			n.t.Errorf("%s/%s: want a link to a socket below /run", dir, strings.TrimSpace(line))
			continue
		}
		links++
	}
	if links != 2 {
		n.t.Errorf("%s has %d links to sockets below /run, want one for each of the 2 pools:\n%s", dir, links, out)
	}
}

// checkUnmounted asserts that the host could unmount /var while the service ran, and
// that nothing was left that uses its disk.
func (n *node_) checkUnmounted(u lab.Unmounted) {
	n.t.Helper()
	if u.Error != "" {
		n.t.Errorf("the host could not unmount /var while the service ran: %s", u.Error)
	}
	if u.Disk != "" {
		n.t.Errorf("after the unmount the disk with /var is still in use: %s; it is held by %s", u.Disk, strings.Join(u.Held, "; "))
	}
	n.t.Logf("unmounted in %.2f s, the disk free after %.2f s more", u.Seconds, u.DiskSeconds)
}

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

// The services are restarted by Talos, ours is killed, and an extension beside ours
// gets a document: pods keep their VFs, the kubelet goes on offering the rest, and
// gives no VF twice. Its links lead to sockets that do not keep /var mounted.
func TestServices(t *testing.T) { servicesRestart(t, node(t), "device-plugins") }

// The same where the extension registers by the kubelet's plugin watcher.
func TestServicesPluginWatcher(t *testing.T) {
	servicesRestart(t, boot(t, lab.Options{Extensions: variant(t, "-plugin-watcher")}), "plugins_registry")
}

// servicesRestart is for a node whose extension has its sockets in the kubelet's
// directory dir.
func servicesRestart(t *testing.T, n *node_, dir string) {
	n.document(vfs(pfA, 4) + fmt.Sprintf("\n  - match: {pciAddresses: [%q]}\n    numVFs: 2\n    resourceName: %s", pfB, otherResource))
	n.offered(nil)
	n.dialledThroughLinks(dir)
	n.pod("first", 1)
	n.running("first")
	vf := n.env("first", env)
	n.checkVF(vf, pfA)
	n.checkInfo("first", vf)

	// The other extension's config comes, and its change restarts that service alone.
	ours := n.daemon()
	other, err := n.Service("ext-labagent").State(n.ctx())
	n.must(err)
	const document = "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: labagent\nenvironment: [LAB=%d]\n"
	for i := range 2 {
		n.must(n.SetDocument(n.ctx(), fmt.Sprintf(document, i)))
	}
	n.must(n.WaitFor(n.ctx(), "wait until Talos has restarted the other extension", func(ctx context.Context) (bool, error) {
		now, err := n.Service("ext-labagent").State(ctx)
		return now.State == "Running" && now.PID != other.PID, err
	}))
	n.must(n.WaitAgent(n.ctx()))
	if now := n.daemon(); now.PID != ours.PID {
		t.Errorf("another extension's config restarted ours: %+v, was %+v", now, ours)
	}

	n.offered(func() { n.must(n.Service(ext).Restart(n.ctx())) })
	n.offered(func() { n.must(n.Service(ext).Kill(n.ctx())) })
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

package readmission

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/kube"
)

// way is a way of registration.
type way struct {
	name  string
	flags []string // of sriovd run
	dir   string   // of the kubelet's, where sriovd's links are
}

// ways begin with the one that sriovd has without a flag.
var ways = []way{
	{name: "kubelet.sock", dir: "device-plugins"},
	{name: "plugin watcher", flags: []string{"-plugin-watcher"}, dir: "plugins_registry"},
}

// order is how a kubelet comes to start while pods hold devices.
type order struct {
	name   string
	start  func(n *node, w way)
	static bool // the pods are static ones
	talos  bool // as Talos does it with pods of the API server
}

var orders = []order{
	{name: "boot", talos: true, start: boot},
	{name: "boot with sriovd beside the kubelet", start: func(n *node, w way) {
		n.powerOff()
		n.powerOn()
		n.startContainerd()
		n.startDaemon(w)
		n.startKubelet()
	}},
	{name: "kubelet alone", start: func(n *node, w way) {
		n.must(n.box.Kill("kubelet"))
		n.killContainers()
		n.must(n.box.Kill("sriovd"))
		n.startDaemon(w)
		n.waitDaemon(w)
		n.startKubelet()
	}},
	// A kubelet has its static pods before it has its runtime, and pods of the API server
	// one second after it has asked for its node. So these meet the race that the others
	// meet where the kubelet takes longer than that second.
	{name: "boot with static pods", static: true, start: boot},
}

// boot is the order of a boot of Talos: it starts extension services before the CRI and
// the kubelet, and waits for the CRI before it starts the kubelet.
func boot(n *node, w way) {
	n.powerOff()
	n.powerOn()
	n.startDaemon(w)
	n.waitDaemon(w)
	n.startContainerd()
	n.startKubelet()
}

// TestReadmission starts a kubelet again and again whose pods hold devices and have lost
// their containers, and prints how many pods it refused, and how long before its first
// allocation it had the devices. In the order in which Talos boots no pod of the API
// server may be refused. READMISSION_STARTS says how many starts there are by each way in
// each order.
func TestReadmission(t *testing.T) {
	n := newNode(t)
	n.powerOn()
	n.startDaemon(ways[0])
	n.startContainerd()
	n.startKubelet()
	n.makePods()
	n.control()
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			n.t = t
			if o.static != n.static {
				n.removePods(func(string) bool { return true })
				n.static = o.static
				n.makePods()
			}
			n.measure(o)
		})
		if n.t = t; t.Failed() {
			return
		}
	}
}

// measure goes through the starts in one order.
func (n *node) measure(o order) {
	n.t.Helper()
	refused := make([]int, len(ways))
	begins := make([][]begun, len(ways))
	for range starts {
		// By turns, so that whatever else the machine does meets both.
		for i, w := range ways {
			lost, b := n.round(o, w)
			refused[i] += lost
			begins[i] = append(begins[i], b)
		}
	}
	table := "| order | registration | kubelet starts | pods that held a VF | refused | socket to devices: least, median, most | devices to the first allocation: least, median, most |\n|---|---|---|---|---|---|---|"
	for i, w := range ways {
		table += fmt.Sprintf("\n| %s | %s | %d | %d | %d | %s | %s |", o.name, w.name, starts, starts*held, refused[i],
			spread(begins[i], func(b begun) time.Duration { return b.listed.Sub(b.socket) }), spread(begins[i], begun.margin))
	}
	n.t.Logf("%d pods at a time, %d VFs\n%s", held, vfs, table)
	if o.talos && refused[0] > 0 {
		n.t.Errorf("%d of %d pods were refused after boots in the order of Talos, by the way that is the default", refused[0], starts*held)
	}
}

// spread is the least, the median and the most of a time.
func spread(begins []begun, of func(begun) time.Duration) string {
	var all []time.Duration
	for _, b := range begins {
		all = append(all, of(b))
	}
	slices.Sort(all)
	return ms(all[0]) + ", " + ms(all[len(all)/2]) + ", " + ms(all[len(all)-1])
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }

// control boots without sriovd: every pod must be refused, or what the rounds count is
// nothing.
func (n *node) control() {
	n.t.Helper()
	before := n.waitPods("running", running)
	n.powerOff()
	n.powerOn()
	n.startContainerd()
	n.startKubelet()
	lost, _ := n.settled(before)
	if len(lost) != held {
		n.t.Fatalf("%d of %d pods were refused without a device plugin: what this test counts is no re-admission", len(lost), held)
	}
	n.startDaemon(ways[0])
	n.waitDaemon(ways[0])
	n.removePods(func(name string) bool { return slices.Contains(lost, name) })
	n.makePods()
}

// round starts a kubelet, and gives how many pods it refused, and its moments. All pods
// run before and after it.
func (n *node) round(o order, w way) (int, begun) {
	n.t.Helper()
	before := n.waitPods("running", running)
	o.start(n, w)
	var b begun
	n.wait("wait for the kubelet to have our devices", seldom, func() (bool, error) {
		var err error
		b, err = readLog(n.kubelet)
		if err != nil && !errors.Is(err, errNotYet) {
			n.t.Fatal(err)
		}
		return err == nil, err
	})
	lost, kept := n.settled(before)
	n.t.Logf("%s, %s: %d refused, %d admitted; after its first line the kubelet had its socket in %s, heard of sriovd's in %s, had the devices in %s, allocated in %s",
		o.name, w.name, len(lost), kept, ms(b.socket.Sub(b.first)), ms(b.heard.Sub(b.first)), ms(b.listed.Sub(b.first)), ms(b.asked.Sub(b.first)))
	// The pods are admitted one after the other. Between the line and the devices' being
	// taken over is less than a millisecond.
	if m := b.margin(); m < 0 && len(lost) == 0 || m > time.Millisecond && len(lost) > 0 {
		n.t.Errorf("%s, %s: %d of %d pods were refused, with the devices %s before the first allocation", o.name, w.name, len(lost), held, ms(m))
	}
	n.removePods(func(name string) bool { return slices.Contains(lost, name) })
	n.makePods()
	return len(lost), b
}

// settled waits until the kubelet has refused each of these pods, or has admitted it and
// started its container again; it gives the names of those that were refused, and the
// number of the others.
func (n *node) settled(before map[string]kube.Pod) (lost []string, kept int) {
	n.t.Helper()
	after := n.waitPods("refused, or running again", func(p kube.Pod) error {
		was := before[p.Metadata.Name]
		switch {
		case p.Metadata.UID != was.Metadata.UID:
			return fmt.Errorf("pod %s is another one", p.Metadata.Name)
		case refused(p):
			return nil
		case running(p) != nil:
			return running(p)
		case p.Status.Containers[0].ContainerID == was.Status.Containers[0].ContainerID:
			return fmt.Errorf("pod %s has the container of before", p.Metadata.Name)
		}
		return nil
	})
	for name, p := range after {
		if refused(p) {
			lost = append(lost, name)
		} else {
			kept++
		}
	}
	return lost, kept
}

package e2e

import (
	"strings"
	"testing"
	"time"

	lab "github.com/talos-sriov/talos-sriov/test/lab"
)

// Before there is a network, nobody can tell which PF will carry it. At the
// first boot every PF waits until it was seen up, with a link and without an
// address for some time; at the next, with the same config, only for the
// record of the first, which is on /var; with a changed document for the evidence
// again, whether or not there is a default route.
func TestUplinkEvidence(t *testing.T) {
	const bound = time.Minute // long, so that a wait is not taken for a slow host
	n := boot(t, lab.Options{Document: patch(vfs(pfA, 4)), Extension: variant(t, "-network-wait="+bound.String())})
	n.allReady(1)
	n.allocatable(4)
	first, at := n.early("sriov_numvfs")
	// The network comes after the modules.
	if !first.waited || first.written < at["modules"] {
		t.Errorf("the first boot: %+v, want a wait for the network, which came after %.2f s", first, at["modules"])
	}
	t.Logf("the first boot: seconds since the kernel started: document %.2f, network %.2f, VFs %.2f", at["document"], at["network"], first.written)

	n.run("touch /system/state/no-default-route && sync")
	n.must(n.Reboot(n.ctx()))
	n.noDefaultRoute()
	n.allReady(1)
	n.allocatable(4)
	next, _ := n.early("sriov_numvfs")
	if waited := next.written - next.started; waited > bound.Seconds() || next.written < next.state {
		t.Errorf("the next boot: %+v: the VFs were made after %.2f s, want them with the record", next, waited)
	}
	t.Logf("the next boot, no network: VFs %.2f s after the start, %.2f s after the record was there", next.written-next.started, next.written-next.state)

	n.run("sed -i 's/numVFs: 4/numVFs: 3/' /system/state/documents/sriov.yaml && sync")
	n.must(n.Reboot(n.ctx()))
	n.noDefaultRoute()
	n.allReady(1)
	n.allocatable(3)
	if got := n.drift(); got != 0 {
		t.Errorf("the status counts %d changes by somebody else, and there was none", got)
	}
	changed, _ := n.early("sriov_numvfs")
	if waited := changed.written - changed.started; !changed.waited || waited < bound.Seconds() {
		t.Errorf("a changed document and no network: %+v: the VFs were made after %.2f s, want at least the %v in which the port is seen", changed, waited, bound)
	}
	t.Logf("a changed document, no network: VFs %.2f s after the start", changed.written-changed.started)
}

func (n *node_) noDefaultRoute() {
	n.t.Helper()
	if got := n.run("ip route show default; ip -6 route show default"); got != "" {
		n.t.Fatalf("the node has a default route: %s", got)
	}
}

// early is what the extension's log of this boot says, in seconds since the
// kernel started.
type early struct {
	// state is when the record of earlier boots was there.
	started, state, written float64
	waited                  bool // a PF was kept back for want of evidence
}

// early reads the log of the extension and the record of the boot.
func (n *node_) early(path string) (early, map[string]float64) {
	n.t.Helper()
	events, err := n.BootEvents(n.ctx())
	n.must(err)
	at := map[string]float64{}
	for _, e := range events {
		if _, seen := at[e.Name]; !seen {
			at[e.Name] = e.Mono
		}
	}
	log, err := n.Service(ext).Log(n.ctx())
	n.must(err)
	var out early
	for line := range strings.Lines(log) {
		stamp, text, _ := strings.Cut(line, " ")
		when, err := time.Parse(time.RFC3339Nano, stamp)
		n.must(err)
		// The record has both clocks; the log has the wall's.
		mono := events[0].Mono + when.Sub(events[0].Wall).Seconds()
		switch {
		case strings.Contains(text, "msg=started") && out.started == 0:
			out.started = mono
		case strings.Contains(text, "state directory in use") && out.state == 0:
			out.state = mono
		case strings.Contains(text, "waits for the machine's network"):
			out.waited = true
		case strings.Contains(text, "msg=written") && strings.Contains(text, path) && out.written == 0:
			out.written = mono
		}
	}
	if out.started == 0 || out.written == 0 {
		n.t.Fatalf("the log of the extension has no start, or no write of %s:\n%s", path, log)
	}
	return out, at
}

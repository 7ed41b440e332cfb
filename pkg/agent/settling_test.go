package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// problemsLogged waits until the log has the messages, in this order and no other of problems.
func (n *node) problemsLogged(want ...string) {
	n.t.Helper()
	var got []string
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); len(got) < len(want); <-tick.C {
		got = n.problems()
		if time.Now().After(end) {
			break
		}
	}
	if len(got) != len(want) {
		n.t.Fatalf("logged:\n%s\nwant %q", strings.Join(got, ""), want)
	}
	for i, w := range want {
		if !strings.Contains(got[i], w) {
			n.t.Errorf("logged %s, want %q", got[i], w)
		}
	}
}

// problems are the lines of the log about problems.
func (n *node) problems() []string {
	var out []string
	for line := range strings.Lines(n.log.String()) {
		if strings.Contains(line, `msg="problem `) {
			out = append(out, line)
		}
	}
	return out
}

func pendingFor(text string) func(*status.Status) bool {
	return func(s *status.Status) bool {
		return len(s.PFs) == 1 && s.PFs[0].State == status.PFPending && len(s.PFs[0].Errors) == 1 &&
			s.PFs[0].Errors[0].Settling && strings.Contains(s.PFs[0].Errors[0].Msg, text)
	}
}

func isReady(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady }

// TestDriverThatComesLater: udev loads the driver of VFs a second after they were made.
// The status has that it is not loaded, and the log neither that nor its end.
func TestDriverThatComesLater(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.kernel.Unload("igbvf")
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	n.status("not loaded", pendingFor("the driver igbvf is not loaded"))
	n.kernel.Load("igbvf")
	n.healthy(2)
	n.status("ready", isReady)
	n.problemsLogged()
}

// TestDriverThatDoesNotCome: when the grace is over the log has the problem, with what to
// do; and when the driver is there, its end.
func TestDriverThatDoesNotCome(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.options = func(o *agent.Options) { o.LogGrace = 300 * time.Millisecond }
	n.kernel.Unload("igbvf")
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	n.status("not loaded", pendingFor("the driver igbvf is not loaded"))
	n.problemsLogged(`msg="problem pending" pf=` + pfA + ` name=enp33s0 line=4 column=5 problem="the driver igbvf is not loaded" hint="taken up when it is, and udev loads it`)
	n.kernel.Load("igbvf")
	n.healthy(2)
	n.status("ready", isReady)
	n.problemsLogged("problem pending", `msg="problem over" pf=`+pfA+` name=enp33s0 line=4 column=5 problem="the driver igbvf is not loaded"`)
}

// TestInterfaceThatIsAway: one that is back soon is no news, one that stays away is, once,
// and so is its end.
func TestInterfaceThatIsAway(t *testing.T) {
	t.Parallel()
	for name, grace := range map[string]time.Duration{"for a moment": time.Hour, "for long": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.options = func(o *agent.Options) { o.LogGrace = grace }
			n.kubelet.Start()
			n.start()
			n.configure(vfs(pfA, 2))
			n.healthy(2)
			n.status("ready", isReady)
			addr := n.kernel.Snapshot().PF(pfA).VFs[0].Address
			n.kernel.Hold(addr, "nobody")
			n.status("away", pendingFor("is not in the host's network namespace"))
			var want []string
			if grace < time.Hour {
				n.problemsLogged("problem pending")
				want = []string{"problem pending", "problem over"}
			}
			n.kernel.Release(addr)
			n.status("ready", isReady)
			n.problemsLogged(want...)
		})
	}
}

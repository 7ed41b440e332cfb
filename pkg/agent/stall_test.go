package agent_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
)

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A pass that never ends makes the daemon unhealthy and ends it, with the stacks of all
// goroutines: the service is started again.
func TestStalledLoopEndsTheDaemon(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	addr := freeAddr(t)
	answer, released := make(chan struct{}), make(chan struct{}, 1)
	n.options = func(o *agent.Options) { o.Stall = 3 * time.Second }
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2) + fmt.Sprintf("metrics: {listen: %q}\n", addr))
	n.healthy(2)
	n.mu.Lock()
	n.hangs = func(int) {
		<-answer
		select {
		case released <- struct{}{}:
		default:
		}
	}
	n.mu.Unlock()
	// What was left behind ends with the agent's context, and once it has its answer.
	t.Cleanup(func() {
		n.stop()
		close(answer)
		<-released
	})
	n.configure(vfs(pfA, 2) + fmt.Sprintf("metrics: {listen: %q}\n# again\n", addr))
	var err error
	select {
	case err = <-n.ended:
	case <-time.After(deadline):
		t.Fatal("the daemon goes on")
	}
	n.ended <- nil // n.stop has nothing more to wait for
	var stalled *agent.StalledError
	if !errors.As(err, &stalled) || stalled.After != 3*time.Second {
		t.Fatalf("ended with %v", err)
	}
	if !strings.Contains(stalled.Stacks, "agent_test.(*node).Ask") {
		t.Errorf("the stacks do not show what the loop waits for:\n%s", stalled.Stacks)
	}
	// What it left behind still says so.
	if page, err := scrape(addr, "/healthz"); err != nil || !strings.Contains(page, "a pass of the loop has not ended for") {
		t.Errorf("health page %q, %v", page, err)
	}
}

// A loop each of whose passes takes long goes round anyway.
func TestSlowLoopIsNoStalledOne(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const each = 500 * time.Millisecond
	passes := make(chan int)
	over := make(chan struct{})
	n.options = func(o *agent.Options) { o.Stall, o.Resync = 10*each, time.Millisecond }
	n.hangs = func(asks int) {
		select {
		case <-over:
			return
		case <-time.After(each):
		}
		select {
		case passes <- asks:
		case <-over:
		}
	}
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2))
	t.Cleanup(func() { n.stop() })
	t.Cleanup(func() { close(over) })
	for range 12 { // longer than one pass may take
		select {
		case <-passes:
		case err := <-n.ended:
			n.ended <- nil
			t.Fatalf("a loop that goes round ended the daemon: %v", err)
		case <-time.After(deadline):
			t.Fatal("the loop does not go round")
		}
	}
}

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the daemon takes on a node where nothing happens: memory, and how often
// any thread of it wakes. The kubelet beside it is not idle: it rewrites its
// files and its pods' interfaces come and go, so the bounds leave room.
func TestIdle(t *testing.T) {
	const (
		listen        = "127.0.0.1:9808"
		period        = 20 * time.Second
		maxKB         = 40_000
		maxWakes      = 400 // in the period, over all threads
		maxReconciles = 3
	)
	n := node(t)
	n.document(vfs(pfA, 4) + "\nmetrics: {listen: " + listen + "}")
	n.allocatable(4)
	n.status("ready", func(s status) bool { return len(s.PFs) == 1 && s.PFs[0].State == "ready" && s.Pools[0].Registered })

	page := func(path string) string {
		t.Helper()
		return n.run("wget -qO- http://" + listen + path)
	}
	metric := func(name string) int {
		t.Helper()
		_, rest, ok := strings.Cut(page("/metrics"), "\n"+name+" ")
		if !ok {
			t.Fatalf("no metric %s in %s", name, page("/metrics"))
		}
		value, _, _ := strings.Cut(rest, "\n")
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		n.must(err)
		return int(v)
	}
	if got := metric(fmt.Sprintf(`sriov_pool_devices{healthy="true",resource=%q}`, resource)); got != 4 {
		t.Errorf("the metrics have %d healthy devices, want 4", got)
	}
	if out := page("/healthz"); out != "ok" {
		t.Errorf("/healthz: %s", out)
	}

	pid := n.daemon().PID
	wakes := func() int {
		t.Helper()
		v, err := strconv.Atoi(n.run(fmt.Sprintf("cat /proc/%d/task/*/status | awk '/^voluntary_ctxt_switches/ {n += $2} END {print n}'", pid)))
		n.must(err)
		return v
	}
	wait := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-n.ctx().Done():
			t.Fatal(n.ctx().Err())
		}
	}
	// It comes to rest after the kubelet's first questions and the last events of its
	// VFs, which on a slow host take their time: at rest is what has not looked at the
	// machine for ten seconds. By then it has given back memory, too.
	reconciles := metric("sriov_reconciles_total")
	for since := time.Now(); time.Since(since) < 10*time.Second; {
		wait(time.Second)
		if now := metric("sriov_reconciles_total"); now != reconciles {
			reconciles, since = now, time.Now()
		}
	}
	before := wakes()
	wait(period)
	after := wakes()
	reconciles = metric("sriov_reconciles_total") - reconciles
	memory := n.run(fmt.Sprintf("awk '/^(VmRSS|VmHWM|RssAnon|RssFile|AnonHugePages):/ {print $1, $2}' /proc/%d/status /proc/%d/smaps_rollup", pid, pid))
	t.Logf("in %v: %d wake-ups over all threads, %d reconciles; kB: %s", period, after-before, reconciles, strings.ReplaceAll(memory, "\n", ", "))
	if after-before > maxWakes || reconciles > maxReconciles {
		t.Errorf("%d wake-ups and %d reconciles, at most %d and %d expected", after-before, reconciles, maxWakes, maxReconciles)
	}
	for line := range strings.Lines(memory) {
		if kb, ok := strings.CutPrefix(strings.TrimSpace(line), "VmRSS: "); ok {
			v, err := strconv.Atoi(kb)
			n.must(err)
			if v > maxKB {
				t.Errorf("resident memory %d kB, at most %d expected", v, maxKB)
			}
		}
	}
}

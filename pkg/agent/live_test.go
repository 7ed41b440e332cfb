package agent_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/status"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// scrape reads a page.
func scrape(addr, page string) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: deadline}
	resp, err := client.Get("http://" + addr + page)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// The config turns the metrics on, moves them and turns them off; an address
// that somebody else has is a problem in the status, and nothing else.
func TestMetrics(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}

	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 2) + fmt.Sprintf("metrics: {listen: %q}\n", taken.Addr()))
	n.healthy(2)
	s := n.status("the address is in use", func(s *status.Status) bool { return len(s.Problems) == 1 })
	if p := s.Problems[0]; !strings.Contains(p.Msg, taken.Addr().String()+": bind: address already in use") || !strings.Contains(p.Hint, "metrics.listen") {
		t.Errorf("problem %+v", p)
	}
	n.configure(vfs(pfA, 2) + fmt.Sprintf("metrics: {listen: %q}\n", addr))
	n.status("no problem", func(s *status.Status) bool { return len(s.Problems) == 0 && s.Spec.State == status.SpecAccepted })
	for page, want := range map[string]string{
		"/healthz": "ok\n",
		"/metrics": `sriov_pool_devices{healthy="true",resource="` + resource + `"} 2` + "\n",
	} {
		// The status may be free of the old problem before the new address is open.
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(deadline); ; <-tick.C {
			text, err := scrape(addr, page)
			if err == nil && strings.Contains(text, want) {
				if page == "/metrics" {
					if problems, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
						t.Errorf("%v %v", problems, err)
					}
				}
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v\n%s", page, err, text)
			}
		}
	}
	hash := n.status("accepted", func(*status.Status) bool { return true }).Spec.Hash
	n.configure(vfs(pfA, 2))
	n.status("off", func(s *status.Status) bool { return s.Spec.Hash != hash })
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); ; <-tick.C {
		if _, err := scrape(addr, "/metrics"); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("still served")
		}
	}
}

// What the kernel changes by itself reaches the kubelet by its events, earlier than
// by any timer of the loop, and a burst of them is one list. Others use this machine
// too and may tear a burst apart: the best of some rounds counts.
func TestBurstIsOneUpdate(t *testing.T) {
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure("apiVersion: v1alpha1\nkind: SRIOVConfig\nresourceList:\n  - {resourceName: vfs, selectors: {drivers: [igbvf]}}\n")
	const pool = "intel.com/vfs"
	n.kubelet.Wait(pool, "the empty pool", func(r kubelettest.Resource) bool { return r.Connected && r.Lists == 1 })
	write := func(name, value string) {
		t.Helper()
		if err := n.kernel.Write(name, value); err != nil {
			t.Fatal(err)
		}
	}
	var addrs []string
	bursts := []struct {
		what  string
		do    func()
		count int
	}{
		{"VFs come", func() { write(sysfs.NumVFs(pfA), "6") }, 6},
		{"their driver goes", func() {
			for _, a := range addrs {
				write(sysfs.DriverUnbind("igbvf"), a)
			}
		}, 0},
		{"it comes back", func() {
			for _, a := range addrs {
				write(sysfs.Join(sysfs.DriverDir("igbvf"), "bind"), a)
			}
		}, 6},
		{"the VFs go", func() { write(sysfs.NumVFs(pfA), "0") }, 0},
	}
	const limit = time.Second // the loop's shortest timer in the steady state
	var took []time.Duration
	lists := func() int { return n.kubelet.Resource(pool).Lists }
	for round := 0; took == nil && round < 20; round++ {
		var times []time.Duration
		before := lists()
		for _, b := range bursts {
			start := time.Now()
			b.do()
			r := n.kubelet.Wait(pool, b.what, func(r kubelettest.Resource) bool { return len(r.Devices) == b.count })
			if d := time.Since(start); d < limit {
				times = append(times, d)
			}
			if b.count > 0 {
				addrs = nil
			}
			for _, d := range r.Devices {
				a, _, _ := strings.Cut(d, "=")
				addrs = append(addrs, a)
			}
		}
		if len(times) == len(bursts) && lists() == before+len(bursts) {
			took = times
		}
	}
	if took == nil {
		t.Fatalf("in no round were %d bursts %d lists, each within %s", len(bursts), len(bursts), limit)
	}
	for i, b := range bursts {
		t.Logf("%s: one list, %s after the first event", b.what, took[i].Round(time.Millisecond))
	}
}

// When nothing happens, nothing is done: the loop is not woken by what it did
// itself.
func TestIdleIsIdle(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	n.kubelet.Start()
	n.start()
	n.configure(vfs(pfA, 4) + fmt.Sprintf("metrics: {listen: %q}\n", addr))
	n.healthy(4)
	n.status("ready", func(s *status.Status) bool { return len(s.PFs) == 1 && s.PFs[0].State == status.PFReady })
	reconciles := func() string {
		text, err := scrape(addr, "/metrics")
		if err != nil {
			return ""
		}
		_, rest, _ := strings.Cut(text, "\nsriov_reconciles_total ")
		count, _, _ := strings.Cut(rest, "\n")
		return count
	}
	const quiet = 500 * time.Millisecond
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	before := reconciles()
	for end := time.Now().Add(deadline); ; before = reconciles() {
		<-tick.C
		if after := reconciles(); after != "" && after == before {
			t.Logf("%s reconciles in all, none within the last %s", after, quiet)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s the machine is still read: %s times before, %s now", deadline, before, reconciles())
		}
	}
}

// The error counters are not read for the first list, and are from then on: what
// is counted later makes the device unhealthy.
func TestPCIeErrorsAreSeen(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	root := sysfstest.Make(t, 1, 4)
	tree, err := sysfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	n.sysfs = tree
	n.kubelet.Start()
	n.start()
	n.configure("apiVersion: v1alpha1\nkind: SRIOVConfig\nresourceList:\n  - {resourceName: vfs, selectors: {drivers: [iavf]}}\n")
	const pool = "intel.com/vfs"
	r := n.kubelet.Wait(pool, "the list", func(r kubelettest.Resource) bool { return r.Connected && len(r.Devices) == 4 })
	vf, _, _ := strings.Cut(r.Devices[1], "=")
	counter := filepath.Join(root, sysfs.DeviceAttr(vf, sysfs.AttrAERFatal))
	// Which pass reads the counters first cannot be seen, and what that one
	// finds counts as old: so they rise until it is noticed.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(deadline)
	noticed := func(d string) bool { return strings.HasPrefix(d, vf+"=Unhealthy") }
	for count := 1; !slices.ContainsFunc(n.kubelet.Resource(pool).Devices, noticed); count++ {
		if time.Now().After(end) {
			t.Fatalf("%d errors were not noticed: %v", count, n.kubelet.Resource(pool).Devices)
		}
		if err := os.WriteFile(counter, fmt.Appendf(nil, "Undefined 0\nDLP %d\nTOTAL_ERR_FATAL %d\n", count, count), 0o644); err != nil {
			t.Fatal(err)
		}
		n.changes.notify()
		<-tick.C
	}
	if got := strings.Count(strings.Join(n.kubelet.Resource(pool).Devices, " "), "=Healthy"); got != 3 {
		t.Errorf("%d healthy devices, want the other 3", got)
	}
	n.status("the cause", func(s *status.Status) bool {
		d := s.Pools[0].Members[1]
		return d.ID == vf && d.Reason.Cause == "pcie-errors" && strings.Contains(d.Reason.Text, "PCIe errors on "+vf)
	})
}

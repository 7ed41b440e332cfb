package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// daemon is the program as it is shipped, on a made-up sysfs and beside a
// stand-in kubelet, in a network namespace of its own so that nobody else's
// links wake it.
type daemon struct {
	b       *testing.B
	cmd     *exec.Cmd
	kubelet *kubelettest.Kubelet
	stderr  bytes.Buffer
	started time.Time
}

func buildDaemon(b testing.TB) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "sriovd")
	cmd := exec.CommandContext(b.Context(), "go", "build", "-tags", "grpcnotrace", "-trimpath", "-ldflags", "-s -w", "-o", bin, "../../cmd/sriovd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return bin
}

const benchDocument = `apiVersion: v1alpha1
kind: SRIOVConfig
cni: {install: false}
resourceList:
  - {resourceName: all, selectors: {drivers: [iavf]}}
metrics: {listen: "` + benchListen + `"}
`

const benchListen = "127.0.0.1:9808"

const benchPool = "intel.com/all"

// startDaemon starts the program; it returns at once.
func startDaemon(b *testing.B, bin, sysfs string) *daemon {
	b.Helper()
	dir := b.TempDir()
	// A name short enough for sockets, in a directory where nobody else is: the
	// directories above the sockets are watched.
	root, err := os.MkdirTemp(os.TempDir(), "k")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(root) })
	d := &daemon{b: b, kubelet: kubelettest.New(b, root)}
	d.kubelet.Start()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(benchDocument), 0o644); err != nil {
		b.Fatal(err)
	}
	d.cmd = exec.Command(bin, "run", "-config", config, "-sysfs", sysfs, "-kubelet-dir", root,
		"-run-dir", filepath.Join(root, "run"),
		"-state-dir", filepath.Join(dir, "state"), "-device-info-dir", filepath.Join(dir, "devinfo"), "-cni-plugin", "")
	d.cmd.Stderr = &d.stderr
	if os.Getuid() == 0 {
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	d.started = time.Now()
	if err := d.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return d
}

func (d *daemon) list(n int) {
	d.b.Helper()
	d.kubelet.Wait(benchPool, "the list", func(r kubelettest.Resource) bool { return r.Connected && len(r.Devices) == n })
}

func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		d.b.Errorf("sriovd: %v\n%s", err, d.stderr.Bytes())
	}
	d.kubelet.Stop()
}

// stat is a number of /proc/PID/status, summed over the threads.
func (d *daemon) stat(key string, threads bool) int {
	d.b.Helper()
	files := []string{fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid)}
	if threads {
		var err error
		if files, err = filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.cmd.Process.Pid)); err != nil {
			d.b.Fatal(err)
		}
	}
	sum := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, key+":"); ok {
				n, err := strconv.Atoi(strings.Fields(rest)[0])
				if err != nil {
					d.b.Fatal(err)
				}
				sum += n
			}
		}
	}
	return sum
}

// BenchmarkStart is from exec to the list in the kubelet's hands.
func BenchmarkStart(b *testing.B) {
	bin := buildDaemon(b)
	for _, size := range []struct {
		pfs, vfs int
		goal     float64
	}{{1, 8, 20}, {1, 256, 25}, {8, 256, 80}, {16, 255, 160}} {
		n := size.pfs * size.vfs
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			root := sysfstest.Make(b, size.pfs, size.vfs)
			var took []time.Duration
			for b.Loop() {
				d := startDaemon(b, bin, root)
				d.list(n)
				took = append(took, time.Since(d.started))
				d.stop()
			}
			reportTimes(b, took, size.goal)
		})
	}
}

// scrape reads the metrics once a second until ctx ends, from within the daemon's
// network namespace.
func (d *daemon) scrape(ctx context.Context) error {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	ns, err := netns.GetFromPid(d.cmd.Process.Pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// One address literal: the socket is made on this thread.
		conn, err := net.Dial("tcp", benchListen)
		if err != nil {
			return err
		}
		_, err = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
		if err == nil {
			_, err = io.Copy(io.Discard, conn)
		}
		if _ = conn.Close(); err != nil {
			return err
		}
	}
}

// loopbackUp brings up lo in the thread's network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// BenchmarkIdle is what the daemon takes when nothing happens, and when its metrics
// are scraped: memory, and how often a thread of it woke.
func BenchmarkIdle(b *testing.B) {
	bin := buildDaemon(b)
	for _, size := range []struct {
		pfs, vfs int
		scraped  bool
	}{{1, 8, false}, {1, 8, true}, {8, 256, false}, {8, 256, true}} {
		n, name := size.pfs*size.vfs, fmt.Sprint(size.pfs*size.vfs)
		if size.scraped {
			name += "-scraped"
		}
		b.Run(name, func(b *testing.B) {
			d := startDaemon(b, bin, sysfstest.Make(b, size.pfs, size.vfs))
			defer d.stop()
			d.list(n)
			if size.scraped {
				if os.Getuid() != 0 {
					b.Skip("needs root to enter the daemon's network namespace")
				}
				ctx, stop := context.WithCancel(b.Context())
				scraped := make(chan error, 1)
				go func() { scraped <- d.scrape(ctx) }()
				defer func() {
					stop()
					if err := <-scraped; err != nil {
						b.Error(err)
					}
				}()
			}
			quiet := time.NewTimer(5 * time.Second)
			<-quiet.C
			const period = 20 * time.Second
			before := d.stat("voluntary_ctxt_switches", true)
			quiet.Reset(period)
			<-quiet.C
			after := d.stat("voluntary_ctxt_switches", true)
			for b.Loop() {
			}
			b.ReportMetric(0, "goal-wakeups/min")
			b.ReportMetric(float64(after-before)*float64(time.Minute/period), "wakeups/min")
			b.ReportMetric(float64(d.stat("VmRSS", false))/1e3, "RSS-MB")
			b.ReportMetric(float64(d.stat("VmHWM", false))/1e3, "peak-RSS-MB")
			b.ReportMetric(float64(d.stat("RssAnon", false))/1e3, "RSS-anon-MB")
			b.ReportMetric(15, "goal-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkChange is from what the kernel announces to the kubelet's having the
// list: a driver that leaves a VF, and a PF that loses its link, with a hold-down
// of a millisecond. The 10 ms in which the agent collects a burst are in it.
func BenchmarkChange(b *testing.B) {
	run := func(name, extra string, away, back func(n *node, vf string)) {
		b.Run(name, func(b *testing.B) {
			n := newNode(b)
			n.kubelet.Start()
			n.start()
			defer n.stop()
			if err := n.kernel.Write(sysfs.NumVFs(pfA), "4"); err != nil {
				b.Fatal(err)
			}
			n.configure("apiVersion: v1alpha1\nkind: SRIOVConfig\nresourceList:\n  - {resourceName: vfs, selectors: {drivers: [igbvf]}}\n" + extra)
			const pool = "intel.com/vfs"
			good := func(count int) func(r kubelettest.Resource) bool {
				return func(r kubelettest.Resource) bool {
					return r.Connected && strings.Count(strings.Join(r.Devices, " "), "=Healthy") == count
				}
			}
			r := n.kubelet.Wait(pool, "the list", good(4))
			vf, _, _ := strings.Cut(r.Devices[0], "=")
			lost := 3
			if extra != "" {
				lost = 0 // the whole PF
			}
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				n.kubelet.Wait(pool, "all healthy", good(4))
				b.StartTimer()
				start := time.Now()
				away(n, vf)
				n.kubelet.Wait(pool, "the change", good(lost))
				took = append(took, time.Since(start))
				b.StopTimer()
				back(n, vf)
				b.StartTimer()
			}
			reportTimes(b, took, 50)
		})
	}
	write := func(n *node, name, value string) {
		if err := n.kernel.Write(name, value); err != nil {
			b.Error(err)
		}
	}
	run("driver", "", func(n *node, vf string) { write(n, sysfs.DriverUnbind("igbvf"), vf) },
		func(n *node, vf string) { write(n, sysfs.Join(sysfs.DriverDir("igbvf"), "bind"), vf) })
	run("link", "health: {holdDown: 1ms}\n", func(n *node, _ string) { n.kernel.Plug(pfA, false) },
		func(n *node, _ string) { n.kernel.Plug(pfA, true) })
}

// reportTimes prints the middle and the worst, in milliseconds, with the goal.
func reportTimes(b *testing.B, took []time.Duration, goal float64) {
	b.Helper()
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	b.ReportMetric(goal, "goal-ms")
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)-1]), "worst-ms")
	b.ReportMetric(0, "ns/op")
}

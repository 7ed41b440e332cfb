package agent_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/agent"
	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/status"
)

// The whole agent under everything that happens on a node at the same time: configs,
// pods that come and go, ports that lose their link, PFs whose driver takes its time or
// hangs, netlink that fails, a kubelet and a service that restart, and a disk that turns
// read-only. It must never stand still, never take a VF from a pod, and be as the last
// config says when all is quiet again.
//
// SRIOV_STRESS is how long (default 3s), SRIOV_STRESS_SEED which random numbers,
// SRIOV_STRESS_PFS how many PFs (default 1 to 12, another number in each round).
func TestStress(t *testing.T) {
	long := 3 * time.Second
	if v := os.Getenv("SRIOV_STRESS"); v != "" {
		var err error
		if long, err = time.ParseDuration(v); err != nil {
			t.Fatalf("SRIOV_STRESS: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("SRIOV_STRESS_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("SRIOV_STRESS_SEED: %v", err)
		}
	}
	pfs := 0
	if v := os.Getenv("SRIOV_STRESS_PFS"); v != "" {
		var err error
		if pfs, err = strconv.Atoi(v); err != nil || pfs < 1 || pfs > 12 {
			t.Fatalf("SRIOV_STRESS_PFS is %q, want a number from 1 to 12", v)
		}
	}
	t.Logf("SRIOV_STRESS_SEED=%d", seed)
	// One round is long enough for some hundred configs.
	const round = 15 * time.Second
	for start := time.Now(); time.Since(start) < long; seed++ {
		count := pfs
		if count == 0 {
			count = 1 + int(seed%12)
		}
		ok := t.Run(fmt.Sprintf("pfs=%d/seed=%d", count, seed), func(t *testing.T) {
			newStress(t, count, seed).run(min(round, long-time.Since(start)))
		})
		if !ok {
			return
		}
	}
}

type stress struct {
	*node
	seed uint64
	pfs  []string

	mu     sync.Mutex
	pods   map[string]time.Time // devices that a pod has, since when; zero while it starts or ends
	docs   int
	allocs int
	starts int

	failing atomic.Bool // netlink fails; the model asks under its lock

	blocked sync.Map // PF -> what its next write of sriov_numvfs waits for, closed in time

	// restarting is held while the service or the kubelet is down.
	restarting sync.RWMutex
	readOnly   func(on bool)
}

func newStress(t *testing.T, count int, seed uint64) *stress {
	s := &stress{node: newNode(t), seed: seed, pods: map[string]time.Time{}, readOnly: func(bool) {}}
	s.kernel.RemovePF(pfA)
	s.kernel.RemovePF(pfB)
	for i := range count {
		addr := fmt.Sprintf("0000:%02x:00.0", 0x10+16*i)
		s.kernel.AddPF(modelkernel.PF{
			Address: addr, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7,
			Name: fmt.Sprintf("enp%ds0", 16+16*i), MAC: fmt.Sprintf("52:54:00:00:01:%02x", i), NUMA: i % 2,
		})
		s.pfs = append(s.pfs, addr)
	}
	s.kernel.FailNetwork(func(string) error {
		if s.failing.Load() {
			return unix.ENOBUFS
		}
		return nil
	})
	s.kernel.Faults(func(name, _ string) modelkernel.Fault {
		if pf, ok := strings.CutSuffix(name, "/sriov_numvfs"); ok {
			if until, ok := s.blocked.Load(filepath.Base(pf)); ok {
				return modelkernel.Fault{Until: until.(chan struct{})}
			}
		}
		return modelkernel.Fault{}
	})
	// Beside two seconds for each VF: a way through 0 VFs that hangs is soon stuck.
	s.options = func(o *agent.Options) {
		o.WriteTimeout = func(op.Kind) time.Duration { return 500 * time.Millisecond }
	}
	dir := filepath.Join(s.dir, "state")
	if err := errors.Join(os.MkdirAll(dir, 0o755), unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m")); err == nil {
		s.readOnly = func(on bool) {
			flags := uintptr(unix.MS_REMOUNT)
			if on {
				flags |= unix.MS_RDONLY
			}
			// Busy while a file is being written: then it stays as it is.
			_ = unix.Mount("", dir, "", flags, "")
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	return s
}

// doc asks for a number of VFs on each PF.
func (s *stress) doc(count func(pf int) int) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1alpha1\nkind: SRIOVConfig\nphysicalFunctions:\n")
	for i, pf := range s.pfs {
		fmt.Fprintf(&b, "  - match: {pciAddresses: [%q]}\n    numVFs: %d\n    resourceName: %s\n", pf, count(i), poolOf(i))
	}
	return b.String()
}

func poolOf(pf int) string { return fmt.Sprintf("example.com/pool%d", pf) }

// hasPods reports whether pods are started on the PF: changes of it wait for them, and
// for two minutes after a pod that the kubelet never listed. The others change with
// each config.
func hasPods(pf int) bool { return pf%3 == 0 }

// podLife is how long a pod lives at least: most are listed before they end, and so
// their PFs become free for the next config.
const podLife = 200 * time.Millisecond

// actor does one thing again and again, with random numbers and pauses of its own,
// until the time is over.
func (s *stress) actor(wg *sync.WaitGroup, end <-chan struct{}, n uint64, longest time.Duration, act func(r *rand.Rand)) {
	r := rand.New(rand.NewPCG(s.seed, n))
	wg.Go(func() {
		for {
			timer := time.NewTimer(time.Duration(r.Int64N(int64(longest))))
			select {
			case <-end:
				timer.Stop()
				return
			case <-timer.C:
				act(r)
			}
		}
	})
}

func (s *stress) run(long time.Duration) {
	s.kubelet.Start()
	s.configure(s.doc(func(int) int { return 2 }))
	s.start()
	end := make(chan struct{})
	var wg sync.WaitGroup
	// Trouble is short and seldom enough for most configs to come into force.
	s.actor(&wg, end, 1, 250*time.Millisecond, func(r *rand.Rand) {
		s.configure(s.doc(func(int) int { return 1 + r.IntN(7) }))
		s.count(&s.docs)
	})
	for i := range uint64(2) {
		s.actor(&wg, end, 2+i, 100*time.Millisecond, s.pod)
	}
	s.actor(&wg, end, 4, 50*time.Millisecond, func(r *rand.Rand) {
		s.kernel.Plug(s.pfs[r.IntN(len(s.pfs))], r.IntN(8) > 0)
	})
	s.actor(&wg, end, 5, 100*time.Millisecond, func(r *rand.Rand) { s.fail(r.IntN(8) == 0) })
	s.actor(&wg, end, 6, 100*time.Millisecond, func(r *rand.Rand) { s.readOnly(r.IntN(8) == 0) })
	s.actor(&wg, end, 7, 100*time.Millisecond, func(r *rand.Rand) { s.silent(r.IntN(8) == 0) })
	s.actor(&wg, end, 9, 800*time.Millisecond, func(r *rand.Rand) { s.block(s.pfs[r.IntN(len(s.pfs))]) })
	s.actor(&wg, end, 10, time.Second, func(*rand.Rand) { s.unblock() })
	s.actor(&wg, end, 8, 2*time.Second, func(r *rand.Rand) {
		s.restarting.Lock()
		defer s.restarting.Unlock()
		if r.IntN(2) == 0 {
			s.kubelet.Restart()
			return
		}
		s.halt()
		s.start()
		s.count(&s.starts)
	})
	timer := time.NewTimer(long)
	<-timer.C
	close(end)
	wg.Wait()
	s.calm()
	s.t.Logf("%d PFs: %d configs, %d allocations, %d restarts of the service, %d writes", len(s.pfs), s.docs, s.allocs, s.starts, len(s.kernel.Writes()))
	s.halt()
	for _, v := range s.kernel.Violations() {
		if strings.Contains(v, "destroyed") || strings.Contains(v, "not there") {
			s.t.Errorf("a pod lost its VF: %s", v)
		}
	}
}

func (s *stress) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

// block makes the PF's driver hang in its next write of sriov_numvfs, until unblock.
func (s *stress) block(pf string) {
	s.restarting.RLock()
	defer s.restarting.RUnlock()
	s.blocked.LoadOrStore(pf, make(chan struct{}))
}

func (s *stress) unblock() {
	s.blocked.Range(func(pf, until any) bool {
		s.blocked.Delete(pf)
		close(until.(chan struct{}))
		return true
	})
}

func (s *stress) fail(on bool) {
	s.failing.Store(on)
	s.restarting.RLock()
	defer s.restarting.RUnlock()
	s.changes.notify()
}

// pod starts a pod with a VF, or ends one.
func (s *stress) pod(r *rand.Rand) {
	s.restarting.RLock()
	defer s.restarting.RUnlock()
	s.mu.Lock()
	var ended string
	for dev, since := range s.pods {
		if !since.IsZero() && time.Since(since) > podLife {
			ended = dev
			s.pods[dev] = time.Time{}
			break
		}
	}
	s.mu.Unlock()
	if ended != "" {
		s.kernel.Release(ended)
		s.hold(ended, "")
		s.mu.Lock()
		delete(s.pods, ended) // not before: the kubelet gives it to the next one then
		s.mu.Unlock()
		s.changes.notify()
		return
	}
	pool := poolOf(3 * r.IntN((len(s.pfs)+2)/3))
	known := s.kubelet.Resource(pool)
	if !known.Connected || len(known.Devices) == 0 {
		return
	}
	dev, health, _ := strings.Cut(known.Devices[r.IntN(len(known.Devices))], "=")
	s.mu.Lock()
	_, taken := s.pods[dev]
	s.mu.Unlock()
	if taken || !strings.HasPrefix(health, "Healthy") {
		return
	}
	client, ok := s.kubelet.Endpoint(pool)
	if !ok {
		return // the stream ended meanwhile
	}
	_, err := client.Allocate(s.t.Context(), &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{dev}}},
	})
	if err != nil {
		return // withdrawn meanwhile, or the stream is not there
	}
	s.mu.Lock()
	_, again := s.pods[dev]
	if !again {
		s.pods[dev] = time.Time{}
	}
	s.mu.Unlock()
	if again {
		return
	}
	s.hold(dev, "stress")
	s.kernel.Hold(dev, "stress")
	s.changes.notify()
	s.mu.Lock()
	s.pods[dev] = time.Now()
	s.mu.Unlock()
	s.count(&s.allocs)
}

// calm ends the trouble and waits until everything is as the last config says.
func (s *stress) calm() {
	s.fail(false)
	s.readOnly(false)
	s.silent(false)
	s.unblock()
	for _, pf := range s.pfs {
		s.kernel.Plug(pf, true)
	}
	for dev := range s.pods { // the actors have ended
		s.kernel.Release(dev)
		s.hold(dev, "")
	}
	clear(s.pods)
	s.configure(s.doc(func(int) int { return 5 }))
	path := filepath.Join(s.dir, "state", "status.yaml")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last *status.Status
	for stop := time.Now().Add(patience); ; <-tick.C {
		s.changes.notify()
		data, _ := os.ReadFile(path) // what is not there yet is no status either
		if st, err := status.Decode(data); err == nil {
			if last = st; s.settled(st) {
				return
			}
		}
		if time.Now().After(stop) {
			s.dump(last)
		}
	}
}

// patience is how long the agent may take for its last config, after pauses of
// failed work that double, on a slow machine with the race detector.
const patience = 3 * time.Minute

func (s *stress) settled(st *status.Status) bool {
	if len(st.PFs) != len(s.pfs) || st.Spec.State != status.SpecAccepted {
		return false
	}
	for i := range st.PFs {
		f := &st.PFs[i]
		done := f.State == status.PFReady && f.Actual.NumVFs == 5
		if !done && !(hasPods(slices.Index(s.pfs, f.Address)) && f.State == status.PFWaiting) {
			return false
		}
	}
	return !slices.ContainsFunc(st.Pools, func(p status.Pool) bool { return !p.Registered })
}

// halt stops the service, and fails when it does not stop. A process does not end before
// the kernel has answered its writes, so the next one meets none of them.
func (s *stress) halt() {
	s.unblock()
	done := make(chan struct{})
	go func() { s.stop(); close(done) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.dump(nil)
	}
}

// dump ends the process: an agent that stands still cannot be stopped either.
func (s *stress) dump(st *status.Status) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	text := ""
	if st != nil {
		text = fmt.Sprintf("%+v", st.PFs)
	}
	fmt.Fprintf(os.Stderr, "%s: not as the last config says after %s\nstatus: %s\nlog:\n%s\n%s\n", s.t.Name(), patience, text, s.log, buf)
	os.Exit(1)
}

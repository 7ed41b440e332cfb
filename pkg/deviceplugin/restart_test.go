package deviceplugin_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
)

func TestDirectoryAppearsLate(t *testing.T) {
	top := kubelettest.Dir(t)
	root := filepath.Join(top, "var", "lib", "kubelet")
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	s := m.waitStatus(res, "waiting", func(s deviceplugin.Status) bool { return s.Waiting == "the kubelet to create kubelet.sock" })
	if s.Err != "" || s.Registered {
		t.Errorf("a directory that is not there yet is no error: %+v", s)
	}
	if _, err := os.Lstat(filepath.Join(top, "var")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made by us (%v)", err)
	}
	k := kubelettest.New(t, root)
	k.Start()
	k.WaitDevices(res, "a=Healthy@0")
}

func TestDirectoryReplaced(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(root string) error
	}{
		{"moved away", func(root string) error {
			return os.Rename(filepath.Join(root, "device-plugins"), filepath.Join(root, "old"))
		}},
		{"moved away, a level up", func(root string) error { return os.Rename(root, root+".old") }},
		{"removed", func(root string) error {
			// Our socket comes back until the directory is gone.
			var err error
			for range 1000 {
				if err = os.RemoveAll(root); err == nil {
					break
				}
			}
			return err
		}},
		{"moved away, two levels up", func(root string) error {
			return os.Rename(filepath.Dir(root), filepath.Dir(root)+".old")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			top := kubelettest.Dir(t)
			root := filepath.Join(top, "lib", "kubelet")
			k := kubelettest.New(t, root)
			k.Start()
			m := start(t, root, deviceplugin.Options{})
			m.Update(assignment(res + " a"))
			k.WaitDevices(res, "a=Healthy@0")
			k.Stop()
			if err := tc.do(root); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(k.PluginDir(), 0o755); err != nil {
				t.Fatal(err)
			}
			k.Start()
			k.WaitDevices(res, "a=Healthy@0")
		})
	}
}

func TestKubeletRestarts(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	m := start(t, root, deviceplugin.Options{})
	const n = 3
	var pools []string
	for i := range n {
		pools = append(pools, fmt.Sprintf("x.y/p%d d%d", i, i))
	}
	m.Update(assignment(pools...))
	restarts := 1000
	if testing.Short() {
		restarts = 20
	}
	settle := func(want int) {
		t.Helper()
		for i := range n {
			k.Wait(fmt.Sprintf("x.y/p%d", i), "registration", func(r kubelettest.Resource) bool {
				return r.Connected && r.Lists >= want && len(r.Devices) == 1
			})
		}
		for i := range n {
			m.waitRegistered(fmt.Sprintf("x.y/p%d", i))
		}
	}
	var goroutines, fds int
	var memory int64
	var took []time.Duration
	accepted := k.Resource("x.y/p0").Registrations
	for i := range restarts {
		lists := k.Resource("x.y/p0").Lists
		k.Stop()
		begin := time.Now()
		k.Start()
		k.Wait("x.y/p0", "the list", func(r kubelettest.Resource) bool { return r.Connected && r.Lists > lists })
		took = append(took, time.Since(begin))
		settle(1)
		if i == 10 {
			goroutines, fds = steady(t)
			memory = m.heap()
		}
	}
	slices.Sort(took)
	t.Logf("kubelet.sock to list: median %v, worst %v", took[len(took)/2], took[len(took)-1])
	// No timer runs while the kernel reports changes, so that all of them came by
	// events. One registration for each kubelet is enough; a few may be lost with
	// the kubelet that accepted them.
	if n, limit := k.Resource("x.y/p0").Registrations-accepted, restarts+restarts/20+2; n < restarts || n > limit {
		t.Errorf("%d registrations for %d kubelets, want at most %d", n, restarts, limit)
	}
	g, f := steady(t)
	if g > goroutines+8 || f > fds+4 {
		t.Errorf("%d goroutines and %d files after %d restarts, %d and %d after 10", g, f, restarts, goroutines, fds)
	}
	grown := m.heap() - memory
	t.Logf("the heap grew by %d KiB in %d restarts", grown>>10, restarts)
	if grown > 1<<18 {
		t.Errorf("the heap grew by %d KiB in %d restarts, want it flat", grown>>10, restarts)
	}
}

// TestTwoRestartsInARow starts a kubelet again before the first registration is
// through.
func TestTwoRestartsInARow(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	k.Start()
	for range 50 {
		k.Restart()
		k.Restart()
		k.WaitDevices(res, "a=Healthy@0")
	}
	m.waitRegistered(res)
}

func TestOwnSocketRemoved(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res+" a", "x.y/other b"))
	k.WaitDevices(res, "a=Healthy@0")
	k.WaitDevices("x.y/other", "b=Healthy@0")
	if err := os.Remove(socketOf(m, res)); err != nil {
		t.Fatal(err)
	}
	k.Wait(res, "a second registration", func(r kubelettest.Resource) bool { return r.Connected && r.Registrations >= 2 && r.Lists >= 2 })
	m.waitRegistered(res)
	if r := k.Resource("x.y/other"); r.Registrations != 1 {
		t.Errorf("the other pool registered %d times", r.Registrations)
	}
	if _, err := os.Stat(socketOf(m, res)); err != nil {
		t.Error(err)
	}
	// The whole directory: ours and the kubelet's. Nobody can register until the
	// kubelet makes its socket again.
	k.Wipe()
	m.waitStatus(res, "waiting", func(s deviceplugin.Status) bool { return s.Waiting == "the kubelet to create kubelet.sock" })
	k.Restart()
	k.WaitDevices(res, "a=Healthy@0")
	m.waitRegistered(res)
}

func TestStreamDropped(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	k.WaitDevices(res, "a=Healthy@0")
	// Each loss in a short time is answered a little later than the one before.
	for i := range 7 {
		before := k.Resource(res)
		k.Drop(res)
		k.Wait(res, fmt.Sprintf("registration after drop %d", i), func(r kubelettest.Resource) bool {
			return r.Connected && r.Registrations > before.Registrations && r.Lists > before.Lists
		})
	}
	m.waitRegistered(res)
	m.Update(assignment(res + " b"))
	k.WaitDevices(res, "b=Healthy@0")
}

// TestKilled leaves a dead socket behind, as SIGKILL does.
func TestKilled(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	path := filepath.Join(k.PluginDir(), "nvidia.com_cx7_qsfp.sock")
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	lis.SetUnlinkOnClose(false)
	_ = lis.Close()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	k.WaitDevices(res, "a=Healthy@0")
}

// earlierSocket is the kubelet.sock of a kubelet before this one. It stays when it
// is closed.
func earlierSocket(t *testing.T, k *kubelettest.Kubelet) *net.UnixListener {
	t.Helper()
	if err := os.MkdirAll(k.PluginDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(k.PluginDir(), "kubelet.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	lis.SetUnlinkOnClose(false)
	return lis
}

// TestDeadKubelet: after a boot the kubelet's socket of the boot before is there,
// and nobody listens on it. That is no fault, and nothing to warn of.
func TestDeadKubelet(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	_ = earlierSocket(t, k).Close()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	st := m.waitStatus(res, "waiting", func(s deviceplugin.Status) bool {
		return s.Waiting == "the kubelet to listen on kubelet.sock"
	})
	if st.Err != "" {
		t.Errorf("the status has the error %q", st.Err)
	}
	k.Start()
	k.WaitDevices(res, "a=Healthy@0")
	m.waitRegistered(res)
	if log := m.log.String(); strings.Contains(log, "WARN") {
		t.Errorf("the log warns:\n%s", log)
	}
}

// TestReplacedDuringRegistration: a kubelet that starts makes its socket again, maybe
// while we still talk to the one before. That is no fault either.
func TestReplacedDuringRegistration(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	mute := earlierSocket(t, k)
	defer mute.Close()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	conn, err := mute.Accept() // and say nothing
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := os.Remove(mute.Addr().String()); err != nil {
		t.Fatal(err)
	}
	k.Start()
	k.WaitDevices(res, "a=Healthy@0")
	m.waitRegistered(res)
	if st := m.Status()[0]; st.Err != "" {
		t.Errorf("the status has the error %q", st.Err)
	}
	if log := m.log.String(); strings.Contains(log, "WARN") {
		t.Errorf("the log warns:\n%s", log)
	}
}

// TestPoke: what a mount over /var does is another directory at the same path, and
// no event.
func TestPoke(t *testing.T) {
	top, hidden := kubelettest.Dir(t), kubelettest.Dir(t)
	link := filepath.Join(hidden, "link")
	root := filepath.Join(top, "kubelet")
	point := func(to string) {
		t.Helper()
		next := filepath.Join(hidden, "next")
		for _, err := range []error{os.MkdirAll(filepath.Join(hidden, to), 0o755), os.Symlink(to, next), os.Rename(next, link)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	point("before")
	if err := os.Symlink(link, root); err != nil {
		t.Fatal(err)
	}
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	m.waitStatus(res, "waiting", func(s deviceplugin.Status) bool { return s.Waiting == "the kubelet to create kubelet.sock" })
	point("after")
	m.Poke()
	k := kubelettest.New(t, root)
	k.Start()
	k.WaitDevices(res, "a=Healthy@0")
	// The watch is on the new directory: a restart is noticed without a poke.
	k.Restart()
	k.WaitDevices(res, "a=Healthy@0")
	m.waitRegistered(res)
}

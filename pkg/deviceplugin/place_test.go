package deviceplugin_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
)

// kubelets runs a test with the kubelet of each generation.
func kubelets(t *testing.T, test func(t *testing.T, k *kubelettest.Kubelet, root string)) {
	for _, tc := range []struct {
		name string
		as   func(*kubelettest.Kubelet)
	}{
		{"1.34 to 1.36", (*kubelettest.Kubelet).Before137},
		{"1.37", func(*kubelettest.Kubelet) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := kubelettest.Dir(t)
			k := kubelettest.New(t, root)
			tc.as(k)
			test(t, k, root)
		})
	}
}

// TestNoSocketInKubeletDir: a bound socket keeps its filesystem busy. The
// kubelet's directory is below /var, so it gets links.
func TestNoSocketInKubeletDir(t *testing.T) {
	for _, watcher := range []bool{false, true} {
		t.Run("plugin watcher "+strconv.FormatBool(watcher), func(t *testing.T) {
			root, host := kubelettest.Dir(t), kubelettest.Dir(t)
			// The host's /run is at another path for the kubelet than for us.
			ours, theirs := filepath.Join(host, "h"), filepath.Join(host, "k")
			if err := errors.Join(os.Mkdir(ours, 0o755), os.Symlink(ours, theirs)); err != nil {
				t.Fatal(err)
			}
			k := kubelettest.New(t, root)
			k.Start()
			dir := k.PluginDir()
			if watcher {
				dir = filepath.Join(root, "plugins_registry")
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			m := start(t, root, deviceplugin.Options{
				PluginWatcher: watcher, SocketDir: filepath.Join(ours, "sriov"), HostPath: func(path string) string { return strings.Replace(path, ours, theirs, 1) },
			})
			m.Update(assignment(res + " a"))
			link := socketOf(m, res)
			if !watcher {
				k.WaitDevices(res, "a=Healthy@0")
			}
			to, err := os.Readlink(link)
			if err != nil || filepath.Dir(to) != filepath.Join(theirs, "sriov") || filepath.Dir(link) != dir {
				t.Errorf("%s points to %q, %v, want a socket in %s", link, to, err, theirs)
			}
			if fi, err := os.Stat(link); err != nil || fi.Mode()&os.ModeSocket == 0 {
				t.Errorf("a kubelet would not take %s for a plugin: %v, %v", link, fi, err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Type()&os.ModeSocket != 0 && e.Name() != "kubelet.sock" {
					t.Errorf("%s in %s is a socket", e.Name(), dir)
				}
			}
		})
	}
}

// deadSocket is what a process that was killed leaves behind.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	lis.SetUnlinkOnClose(false)
	_ = lis.Close()
}

// TestLeftBehind: what an earlier process left is removed at the start, also in the
// directory that it used in the other way of registration. What leads to a socket
// of somebody who lives is not ours to remove, nor is what leads elsewhere.
func TestLeftBehind(t *testing.T) {
	for _, tc := range []struct {
		name string
		pool string
	}{{"with a pool", res + " a"}, {"without", ""}} {
		t.Run(tc.name, func(t *testing.T) {
			root, sockets, seen := kubelettest.Dir(t), kubelettest.Dir(t), "/run/sriov"
			plugins, registry := filepath.Join(root, "device-plugins"), filepath.Join(root, "plugins_registry")
			for _, dir := range []string{plugins, registry} {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			dead, alive := filepath.Join(sockets, "x.y_z-00000001.sock"), filepath.Join(sockets, "x.y_z-00000002.sock")
			deadSocket(t, dead)
			lis, err := net.Listen("unix", alive)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = lis.Close() }()
			links := map[string]string{ // path -> target
				filepath.Join(plugins, "dead.sock"):   filepath.Join(seen, filepath.Base(dead)),
				filepath.Join(registry, "dead.sock"):  filepath.Join(seen, filepath.Base(dead)),
				filepath.Join(plugins, "none.sock"):   filepath.Join(seen, "nobody.sock"),
				filepath.Join(plugins, "alive.sock"):  filepath.Join(seen, filepath.Base(alive)),
				filepath.Join(plugins, "other.sock"):  "/elsewhere/nobody.sock",
				filepath.Join(plugins, "other2.sock"): "nobody.sock",
			}
			for path, to := range links {
				if err := os.Symlink(to, path); err != nil {
					t.Fatal(err)
				}
			}
			m := start(t, root, deviceplugin.Options{SocketDir: sockets, HostPath: func(string) string { return seen }})
			if tc.pool != "" {
				m.Update(assignment(tc.pool))
				socketOf(m, res)
			}
			for _, path := range []string{filepath.Join(plugins, "dead.sock"), filepath.Join(registry, "dead.sock"), filepath.Join(plugins, "none.sock"), dead} {
				waitGone(t, path)
			}
			m.stop()
			for _, path := range []string{alive, filepath.Join(plugins, "alive.sock"), filepath.Join(plugins, "other.sock"), filepath.Join(plugins, "other2.sock")} {
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("removed, although it is not stale: %v", err)
				}
			}
		})
	}
}

// TestServiceRestarts: Talos starts the service again 0.3 s after it ended. The
// kubelet that goes on takes the new process.
func TestServiceRestarts(t *testing.T) {
	kubelets(t, func(t *testing.T, k *kubelettest.Kubelet, root string) {
		k.Start()
		sockets := kubelettest.Dir(t)
		used := map[string]bool{}
		for i := range 20 {
			m := start(t, root, deviceplugin.Options{SocketDir: sockets})
			id := "d" + strconv.Itoa(i)
			m.Update(assignment(res + " " + id))
			got := k.WaitDevices(res, id+"=Healthy@0")
			m.waitRegistered(res)
			if used[got.Endpoint] {
				t.Errorf("start %d uses the name %s again", i, got.Endpoint)
			}
			used[got.Endpoint] = true
			m.stop()
		}
		if left, err := filepath.Glob(filepath.Join(k.PluginDir(), "nvidia*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

// TestTakeover: the kubelet dials for a registration of a process that ended, when
// the next one has started.
func TestTakeover(t *testing.T) {
	kubelets(t, func(t *testing.T, k *kubelettest.Kubelet, root string) {
		sockets := kubelettest.Dir(t)
		releaseFirst := k.Hold()
		defer releaseFirst()
		k.Start()
		first := start(t, root, deviceplugin.Options{SocketDir: sockets})
		first.Update(assignment(res + " a"))
		k.Wait(res, "the first registration under way", func(r kubelettest.Resource) bool { return r.Held == 1 })
		first.stop()
		releaseSecond := k.Hold()
		defer releaseSecond()
		second := start(t, root, deviceplugin.Options{SocketDir: sockets})
		second.Update(assignment(res + " b"))
		k.Wait(res, "the second registration under way", func(r kubelettest.Resource) bool { return r.Held == 2 })
		releaseFirst()
		k.Wait(res, "the end of the first registration", func(r kubelettest.Resource) bool { return r.Registrations+r.Refused > 0 })
		releaseSecond()
		k.WaitDevices(res, "b=Healthy@0")
		second.waitRegistered(res)
		second.Update(assignment(res + " c"))
		k.WaitDevices(res, "c=Healthy@0")
	})
}

// TestLateAnswer: the kubelet connects for an attempt that we gave up. The next
// attempt is accepted, and the pool is not left without one that counts.
func TestLateAnswer(t *testing.T) {
	kubelets(t, func(t *testing.T, k *kubelettest.Kubelet, root string) {
		release := k.Hold()
		defer release()
		k.Start()
		m := start(t, root, deviceplugin.Options{RegisterTimeout: 20 * time.Millisecond})
		m.Update(assignment(res + " a"))
		m.waitStatus(res, "the time-out", func(s deviceplugin.Status) bool { return strings.Contains(s.Err, "DeadlineExceeded") })
		release()
		m.waitRegistered(res)
		k.WaitDevices(res, "a=Healthy@0")
		m.Update(assignment(res + " b"))
		k.WaitDevices(res, "b=Healthy@0")
		if s := m.Status()[0]; s.Err != "" {
			t.Errorf("the status has the error %q", s.Err)
		}
	})
}

// TestDropsOfEachKubelet: a stream that is lost is registered again, whatever the
// kubelet made of the one before.
func TestDropsOfEachKubelet(t *testing.T) {
	kubelets(t, func(t *testing.T, k *kubelettest.Kubelet, root string) {
		k.Start()
		m := start(t, root, deviceplugin.Options{})
		m.Update(assignment(res + " a"))
		k.WaitDevices(res, "a=Healthy@0")
		for range 5 {
			before := k.Resource(res)
			k.Drop(res)
			k.Wait(res, "registration after a drop", func(r kubelettest.Resource) bool {
				return r.Connected && r.Registrations > before.Registrations && r.Lists > before.Lists
			})
		}
		m.waitRegistered(res)
		m.Update(assignment(res + " b"))
		k.WaitDevices(res, "b=Healthy@0")
	})
}

// TestListenerEnds: a socket that stops accepting is replaced, and the kubelet that
// goes on is led to the new one.
func TestListenerEnds(t *testing.T) {
	kubelets(t, func(t *testing.T, k *kubelettest.Kubelet, root string) {
		k.Start()
		m := start(t, root, deviceplugin.Options{})
		m.Update(assignment(res + " a"))
		k.WaitDevices(res, "a=Healthy@0")
		m.waitRegistered(res)
		before := k.Resource(res)
		endListener(t, socketOf(m, res))
		k.Wait(res, "another registration", func(r kubelettest.Resource) bool {
			return r.Connected && r.Registrations > before.Registrations && r.Endpoint != before.Endpoint
		})
		m.waitRegistered(res)
		// As a kubelet does that starts later.
		k.Restart()
		k.WaitDevices(res, "a=Healthy@0")
	})
}

// endListener makes accept(2) fail on the socket behind a path.
func endListener(t *testing.T, path string) {
	t.Helper()
	if to, err := os.Readlink(path); err == nil {
		path = to
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil || listens == 0 {
			continue
		}
		if a, ok := addr(fd); ok && a == path {
			replaceFD(t, fd, path)
			return
		}
	}
	t.Fatalf("nobody here listens on %s", path)
}

// replaceFD puts a file that is no socket in the place of a listening one, and
// wakes who waits for a connection.
func replaceFD(t *testing.T, fd int, path string) {
	t.Helper()
	kept, err := unix.Dup(fd) // the wait is for the socket, not for its number
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(kept) })
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(null) }()
	if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func addr(fd int) (string, bool) {
	a, err := unix.Getsockname(fd)
	if err != nil {
		return "", false
	}
	u, ok := a.(*unix.SockaddrUnix)
	return u.Name, ok
}

// TestSocketRemoved: somebody cleans /run.
func TestSocketRemoved(t *testing.T) {
	kubelets(t, func(t *testing.T, k *kubelettest.Kubelet, root string) {
		k.Start()
		m := start(t, root, deviceplugin.Options{})
		m.Update(assignment(res + " a"))
		k.WaitDevices(res, "a=Healthy@0")
		m.waitRegistered(res)
		for _, path := range []string{"the socket", "the directory"} {
			before := k.Resource(res)
			remove := m.run
			if path == "the socket" {
				to, err := os.Readlink(socketOf(m, res))
				if err != nil {
					t.Fatal(err)
				}
				remove = to
			}
			if err := os.RemoveAll(remove); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
				t.Fatal(err)
			}
			k.Wait(res, "another registration", func(r kubelettest.Resource) bool {
				return r.Connected && r.Registrations > before.Registrations
			})
			m.waitRegistered(res)
			if _, err := os.Stat(socketOf(m, res)); err != nil {
				t.Errorf("%s was removed: %v", path, err)
			}
		}
		k.Restart()
		k.WaitDevices(res, "a=Healthy@0")
	})
}

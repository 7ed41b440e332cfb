package deviceplugin_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

func TestRegisterAndUpdate(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res+" a b c d e!", "intel.com/empty"))
	got := k.WaitDevices(res, "a=Healthy@0 b=Healthy@1 c=Healthy@0 d=Healthy@1 e=Unhealthy")
	if want := regexp.MustCompile(`^nvidia\.com_cx7_qsfp-[0-9a-f]{8}\.sock$`); !want.MatchString(got.Endpoint) {
		t.Errorf("endpoint %s, want %s", got.Endpoint, want)
	}
	empty := k.Wait("intel.com/empty", "an empty list", func(r kubelettest.Resource) bool { return r.Lists == 1 })
	if len(empty.Devices) != 0 {
		t.Errorf("the empty pool has %v", empty.Devices)
	}
	m.waitRegistered(res)
	m.waitRegistered("intel.com/empty")
	if s := m.Status()[0]; s.Devices != 5 || s.Healthy != 4 || s.Waiting != "" || s.Err != "" || s.Registrations != 1 || filepath.Base(s.Socket) != got.Endpoint || filepath.Dir(s.Socket) != k.PluginDir() {
		t.Errorf("status %+v", s)
	}

	// An update reaches the kubelet on the same stream.
	m.Update(assignment(res+" a b!", "intel.com/empty x"))
	k.WaitDevices(res, "a=Healthy@0 b=Unhealthy@1")
	k.WaitDevices("intel.com/empty", "x=Healthy@0")
	// One that the kubelet cannot see is not sent: the next one is message 3.
	m.Update(assignment(res+" a b!", "intel.com/empty x"))
	m.Update(assignment(res+" a", "intel.com/empty x"))
	if got := k.WaitDevices(res, "a=Healthy@0"); got.Lists != 3 || got.Registrations != 1 {
		t.Errorf("%d lists and %d registrations, want 3 and 1", got.Lists, got.Registrations)
	}
}

func TestPoolRemovedAndAddedAgain(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res+" a", "x.y/stays b"))
	k.WaitDevices(res, "a=Healthy@0")
	k.WaitDevices("x.y/stays", "b=Healthy@0")

	withdrawn, stays := socketOf(m, res), socketOf(m, "x.y/stays")
	m.Update(assignment("x.y/stays b"))
	// The kubelet hears "no devices" before the stream ends.
	k.Wait(res, "the end", func(r kubelettest.Resource) bool { return !r.Connected && len(r.Devices) == 0 })
	waitGone(t, withdrawn)
	if n := len(m.Status()); n != 1 {
		t.Errorf("%d pools in the status, want 1", n)
	}

	m.Update(assignment(res+" a2", "x.y/stays b"))
	k.WaitDevices(res, "a2=Healthy@0")
	// In quick succession it must end in the last state.
	for i := range 20 {
		if i%2 == 0 {
			m.Update(assignment("x.y/stays b"))
		} else {
			m.Update(assignment(fmt.Sprintf("%s n%d", res, i), "x.y/stays b"))
		}
	}
	k.WaitDevices(res, "n19=Healthy@0")
	if r := k.Resource("x.y/stays"); r.Registrations != 1 || r.Lists != 1 {
		t.Errorf("the other pool was disturbed: %+v", r)
	}
	m.Update(nil)
	waitGone(t, stays)
}

func TestStop(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	k.WaitDevices(res, "a=Healthy@0")
	bystander := filepath.Join(k.PluginDir(), "other.sock")
	lis, err := net.Listen("unix", bystander)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	link := socketOf(m, res)
	m.stop()
	if _, err := os.Lstat(link); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("our link is still there (%v)", err)
	}
	if left, err := os.ReadDir(m.run); err != nil || len(left) != 0 {
		t.Errorf("our sockets are still there: %v, %v", left, err)
	}
	for _, path := range []string{bystander, filepath.Join(k.PluginDir(), "kubelet.sock")} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("a socket that is not ours is gone: %v", err)
		}
	}
	// Pods keep what they have: the kubelet does not hear that devices are gone.
	r := k.Wait(res, "the end of the stream", func(r kubelettest.Resource) bool { return !r.Connected })
	if len(r.Devices) != 1 || r.Lists != 1 {
		t.Errorf("the kubelet has %+v, want the one list", r)
	}
}

// TestIdle: without pools nothing is opened and nothing is watched.
func TestIdle(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(&pool.Assignment{})
	m.Poke()
	if s := m.Status(); len(s) != 0 {
		t.Errorf("status %+v", s)
	}
	m.stop()
	list, err := os.ReadDir(k.PluginDir())
	if err != nil || len(list) != 1 {
		t.Errorf("the directory has %v, %v, want kubelet.sock alone", list, err)
	}
}

// TestBurst: many updates before the kubelet reads come as few messages, and
// the last one is right.
func TestBurst(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	k.WaitDevices(res, "a=Healthy@0")
	const n = 5000
	for i := range n {
		m.Update(assignment(fmt.Sprintf("%s v%d", res, i)))
	}
	r := k.WaitDevices(res, fmt.Sprintf("v%d=Healthy@0", n-1))
	if r.Lists > n/2 {
		t.Errorf("%d messages for %d updates in a burst", r.Lists, n)
	}
	t.Logf("%d messages for %d updates", r.Lists-1, n)
}

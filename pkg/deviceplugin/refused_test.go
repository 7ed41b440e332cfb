package deviceplugin_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
)

func TestRefused(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Refuse(errors.New("the ResourceName is not allowed"))
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	s := m.waitStatus(res, "refusal", func(s deviceplugin.Status) bool { return s.Err != "" })
	for _, want := range []string{"register with the kubelet at " + filepath.Join(k.PluginDir(), "kubelet.sock"), "the ResourceName is not allowed"} {
		if !strings.Contains(s.Err, want) {
			t.Errorf("status says %q, want %q in it", s.Err, want)
		}
	}
	k.Wait(res, "several attempts", func(r kubelettest.Resource) bool { return r.Refused >= 4 })
	if n := strings.Count(m.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings for one refusal, want 1:\n%s", n, m.log)
	}
	k.Refuse(nil)
	k.WaitDevices(res, "a=Healthy@0")
	m.waitRegistered(res)
	if s := m.Status()[0]; s.Err != "" {
		t.Errorf("the old refusal is still shown: %q", s.Err)
	}
}

func TestSlowRegistration(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	release := k.Hold()
	defer release()
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res+" a", "x.y/other b"))
	m.waitStatus(res, "waiting", func(s deviceplugin.Status) bool { return s.Waiting == "the kubelet to answer the registration" })
	// What happens meanwhile is not lost.
	m.Update(assignment(res+" a2", "x.y/other b"))
	release()
	k.WaitDevices(res, "a2=Healthy@0")
	k.WaitDevices("x.y/other", "b=Healthy@0")
	if r := k.Resource(res); r.Registrations != 1 {
		t.Errorf("%d registrations, want 1", r.Registrations)
	}
}

func TestSlowRegistrationThenRestart(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	release := k.Hold()
	defer release()
	k.Start()
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	m.waitStatus(res, "waiting", func(s deviceplugin.Status) bool { return s.Waiting == "the kubelet to answer the registration" })
	k.Stop()
	release()
	k.Start()
	k.WaitDevices(res, "a=Healthy@0")
}

func TestRegistrationTimeout(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	release := k.Hold()
	defer release()
	k.Start()
	m := start(t, root, deviceplugin.Options{RegisterTimeout: 20 * time.Millisecond})
	m.Update(assignment(res + " a"))
	m.waitStatus(res, "the time-out", func(s deviceplugin.Status) bool { return strings.Contains(s.Err, "DeadlineExceeded") })
	release()
	k.WaitDevices(res, "a=Healthy@0")
}

// TestSomebodyElse does not take the socket of a plugin that is alive, and
// takes over when that one leaves.
func TestSomebodyElse(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	path := filepath.Join(k.PluginDir(), "nvidia.com_cx7_qsfp.sock")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res+" a", "x.y/other b"))
	s := m.waitStatus(res, "the conflict", func(s deviceplugin.Status) bool { return s.Err != "" })
	if want := "another process serves this resource"; !strings.Contains(s.Err, want) {
		t.Errorf("status says %q, want %q in it", s.Err, want)
	}
	k.WaitDevices("x.y/other", "b=Healthy@0")
	_ = lis.Close()
	k.WaitDevices(res, "a=Healthy@0")
	m.waitRegistered(res)
	if s := m.Status()[0]; s.Err != "" {
		t.Errorf("the conflict is still shown: %q", s.Err)
	}
}

func TestInTheWay(t *testing.T) {
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	path := filepath.Join(k.PluginDir(), "nvidia.com_cx7_qsfp.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	s := m.waitStatus(res, "the error", func(s deviceplugin.Status) bool { return s.Err != "" })
	if want := "in the way and no socket"; !strings.Contains(s.Err, want) {
		t.Errorf("status says %q, want %q in it", s.Err, want)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Fatalf("the file was touched: %q, %v", b, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	k.WaitDevices(res, "a=Healthy@0")
}

func TestPathTooLong(t *testing.T) {
	root := filepath.Join(kubelettest.Dir(t), strings.Repeat("x", 100))
	if err := os.MkdirAll(filepath.Join(root, "device-plugins"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	s := m.waitStatus(res, "the error", func(s deviceplugin.Status) bool { return s.Err != "" })
	if want := "choose a shorter kubelet directory"; !strings.Contains(s.Err, want) {
		t.Errorf("status says %q, want %q in it", s.Err, want)
	}
}

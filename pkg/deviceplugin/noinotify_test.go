package deviceplugin_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
)

// TestNoInotify: where no inotify instance is left, the daemon goes on and polls.
// The limit is that of a user namespace, so that nobody else is touched.
func TestNoInotify(t *testing.T) {
	const env = "DEVICEPLUGIN_TEST_NO_INOTIFY"
	if os.Getenv(env) == "" {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestNoInotify$", "-test.v")
		cmd.Env = append(os.Environ(), env+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Error(err)
		}
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	m := start(t, root, deviceplugin.Options{})
	m.Update(assignment(res + " a"))
	m.waitStatus(res, "waiting", func(s deviceplugin.Status) bool { return s.Waiting == "the kubelet to create kubelet.sock" })
	k.Start()
	k.WaitDevices(res, "a=Healthy@0")
	// An update does not wait for the poll, and neither does the status.
	m.Update(assignment(res + " b"))
	k.WaitDevices(res, "b=Healthy@0")
	m.waitRegistered(res)
	k.Restart()
	k.WaitDevices(res, "b=Healthy@0")
	// Only of this: a kubelet that restarts may leave a registration unanswered.
	if n := strings.Count(m.log.String(), "cannot be watched"); n != 1 {
		t.Errorf("%d warnings about the watch, want 1:\n%s", n, m.log)
	}
}

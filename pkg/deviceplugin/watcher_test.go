package deviceplugin_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
)

// waitLink waits for the one socket in dir to be another one than old, and returns
// its path. That is what makes a kubelet's plugin watcher act.
func waitLink(t *testing.T, dir, old string) string {
	t.Helper()
	var path string
	poll(t, "a new socket in "+dir, func() bool {
		list, err := filepath.Glob(filepath.Join(dir, "nvidia.com_cx7_qsfp-*.sock"))
		if err != nil || len(list) != 1 || list[0] == old {
			return false
		}
		// As the kubelet does, which takes nothing else for a plugin.
		fi, err := os.Stat(list[0])
		path = list[0]
		return err == nil && fi.Mode()&os.ModeSocket != 0
	})
	return path
}

func TestPluginWatcher(t *testing.T) {
	root := kubelettest.Dir(t)
	m := start(t, root, deviceplugin.Options{PluginWatcher: true})
	m.Update(assignment(res + " a"))
	m.waitStatus(res, "waiting for the directory", func(s deviceplugin.Status) bool {
		return s.Waiting == "the kubelet to create plugins_registry"
	})
	dir := filepath.Join(root, "plugins_registry")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	first := waitLink(t, dir, "")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("unix:"+first, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	api := registerapi.NewRegistrationClient(conn)
	info, err := api.GetInfo(ctx, &registerapi.InfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if info.GetType() != "DevicePlugin" || info.GetName() != res || info.GetEndpoint() != first || strings.Join(info.GetSupportedVersions(), " ") != "v1beta1" {
		t.Errorf("info %v", info)
	}

	// A refusal is in the status, and the socket is offered again.
	if _, err := api.NotifyRegistrationStatus(ctx, &registerapi.RegistrationStatus{Error: "not today"}); err != nil {
		t.Fatal(err)
	}
	second := waitLink(t, dir, first)
	m.waitStatus(res, "the refusal", func(s deviceplugin.Status) bool {
		return !s.Registered && s.Err == "the kubelet refused the registration: not today"
	})

	stream := func(ctx context.Context) {
		t.Helper()
		list, err := v1beta1.NewDevicePluginClient(conn).ListAndWatch(ctx, &v1beta1.Empty{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := list.Recv(); err != nil || len(got.GetDevices()) != 1 {
			t.Fatalf("list %v, %v", got, err)
		}
	}
	streamCtx, drop := context.WithCancel(ctx)
	defer drop()
	stream(streamCtx)
	if _, err := api.NotifyRegistrationStatus(ctx, &registerapi.RegistrationStatus{PluginRegistered: true}); err != nil {
		t.Fatal(err)
	}
	m.waitStatus(res, "registration", func(s deviceplugin.Status) bool { return s.Registered && s.Err == "" && s.Registrations == 1 })

	// A stream that is lost, or a socket that is removed, is offered again too.
	drop()
	third := waitLink(t, dir, second)
	if err := os.Remove(third); err != nil {
		t.Fatal(err)
	}
	waitLink(t, dir, third)
	m.stop()
	for _, dir := range []string{dir, m.run} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left behind in %s: %v, %v", dir, left, err)
		}
	}
}

// A link that is removed in the instant in which it can be seen is made again.
func TestLinkRemovedAtOnce(t *testing.T) {
	root := kubelettest.Dir(t)
	dir := filepath.Join(root, "plugins_registry")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	m := start(t, root, deviceplugin.Options{PluginWatcher: true})
	m.Update(assignment(res + " a"))
	deadline := time.Now().Add(30 * time.Second)
	for round, last := 0, ""; round < 300; {
		if time.Now().After(deadline) {
			t.Fatalf("the link was not made again after it was removed %d times", round)
		}
		// Without a pause, to be there first.
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 || list[0].Name() == last {
			continue
		}
		last = list[0].Name()
		if err := os.Remove(filepath.Join(dir, last)); err != nil {
			t.Fatal(err)
		}
		round++
	}
}

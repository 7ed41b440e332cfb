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

// waitSocket waits for a socket at path that is another file than old, and
// returns it. That is what makes a kubelet's plugin watcher act.
func waitSocket(t *testing.T, path string, old os.FileInfo) os.FileInfo {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		fi, err := os.Lstat(path)
		if err == nil && (old == nil || !os.SameFile(fi, old) || fi.ModTime() != old.ModTime()) {
			return fi
		}
		<-tick.C
	}
	t.Fatalf("no new socket at %s in 10 s", path)
	return nil
}

func TestPluginWatcher(t *testing.T) {
	root := kubelettest.Dir(t)
	m := start(t, root, deviceplugin.Options{PluginWatcher: true})
	m.Update(assignment(res + " a"))
	m.waitStatus(res, "waiting for the folder", func(s deviceplugin.Status) bool {
		return s.Waiting == "the kubelet to create plugins_registry"
	})
	dir := filepath.Join(root, "plugins_registry")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "nvidia.com_cx7_qsfp.sock")
	first := waitSocket(t, socket, nil)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	api := registerapi.NewRegistrationClient(conn)
	info, err := api.GetInfo(ctx, &registerapi.InfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if info.GetType() != "DevicePlugin" || info.GetName() != res || info.GetEndpoint() != socket || strings.Join(info.GetSupportedVersions(), " ") != "v1beta1" {
		t.Errorf("info %v", info)
	}

	// A refusal is in the status, and the socket is offered anew.
	if _, err := api.NotifyRegistrationStatus(ctx, &registerapi.RegistrationStatus{Error: "not today"}); err != nil {
		t.Fatal(err)
	}
	second := waitSocket(t, socket, first)
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

	// A stream that is lost, or a socket that is removed, is offered anew too.
	drop()
	third := waitSocket(t, socket, second)
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	waitSocket(t, socket, third)
	m.stop()
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("our socket is left behind: %v", err)
	}
}

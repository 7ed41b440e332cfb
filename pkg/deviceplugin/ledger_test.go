package deviceplugin_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
)

// caller starts a manager without a kubelet and calls its socket. The link to it is
// in dir, below the kubelet's directory.
func caller(t *testing.T, dir string, opts deviceplugin.Options) (*rig, *grpc.ClientConn) {
	t.Helper()
	root := kubelettest.Dir(t)
	if err := os.Mkdir(filepath.Join(root, dir), 0o750); err != nil {
		t.Fatal(err)
	}
	m := start(t, root, opts)
	m.Update(assignment(res + " a"))
	conn, err := grpc.NewClient("unix:"+socketOf(m, res), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return m, conn
}

// A kubelet that has shown itself is known before it has a device list, whatever it
// did first. Our own call of our socket is none.
func TestKubeletIsSeen(t *testing.T) {
	for _, tc := range []struct {
		name, dir string
		watcher   bool
		call      func(ctx context.Context, conn *grpc.ClientConn) error
		want      bool
	}{
		{"our own call", "device-plugins", false, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := v1beta1.NewDevicePluginClient(conn).GetDevicePluginOptions(ctx, &v1beta1.Empty{})
			return err
		}, false},
		{"it asks for the list", "device-plugins", false, func(ctx context.Context, conn *grpc.ClientConn) error {
			stream, err := v1beta1.NewDevicePluginClient(conn).ListAndWatch(ctx, &v1beta1.Empty{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, true},
		{"its plugin watcher found us", "plugins_registry", true, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := registerapi.NewRegistrationClient(conn).GetInfo(ctx, &registerapi.InfoRequest{})
			return err
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var seen atomic.Bool
			_, conn := caller(t, tc.dir, deviceplugin.Options{
				PluginWatcher: tc.watcher, Ledger: keeper{seen: func() { seen.Store(true) }},
			})
			if err := tc.call(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
			if got := seen.Load(); got != tc.want {
				t.Errorf("a kubelet was seen: %t, want %t", got, tc.want)
			}
		})
	}
}

// accepting is a kubelet that accepts registrations and never calls.
type accepting struct {
	v1beta1.UnimplementedRegistrationServer
}

func (accepting) Register(context.Context, *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	return &v1beta1.Empty{}, nil
}

func TestKubeletThatAcceptsIsSeen(t *testing.T) {
	var seen atomic.Bool
	m, _ := caller(t, "device-plugins", deviceplugin.Options{Ledger: keeper{seen: func() { seen.Store(true) }}})
	lis, err := net.Listen("unix", filepath.Join(m.root, "device-plugins", "kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	kubelet := grpc.NewServer()
	v1beta1.RegisterRegistrationServer(kubelet, accepting{})
	served := make(chan error, 1)
	go func() { served <- kubelet.Serve(lis) }()
	defer func() {
		kubelet.Stop()
		<-served
	}()
	m.waitStatus(res, "the answer", func(s deviceplugin.Status) bool { return s.Registrations == 1 })
	if !seen.Load() {
		t.Error("a kubelet accepted us and was not seen")
	}
}

// What was noted is settled once, by whether the containers get it.
func TestNoteIsDoneOnce(t *testing.T) {
	var given []bool
	dir := filepath.Join(t.TempDir(), "dp")
	_, _, client, ctx := serve(t, withInfo(res), deviceplugin.Options{
		DeviceInfoDir: dir,
		Ledger:        keeper{done: func(_ deviceplugin.Allocation, ok bool) { given = append(given, ok) }},
	})
	if _, err := client.Allocate(ctx, request(vf0)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Allocate(ctx, request(vf0)); status.Code(err) != codes.Unavailable {
		t.Errorf("without its files: %v", err)
	}
	if want := []bool{true, false}; !slices.Equal(given, want) {
		t.Errorf("done with %v, want %v", given, want)
	}
}

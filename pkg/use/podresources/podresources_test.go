package podresources_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/talos-sriov/talos-sriov/pkg/use"
	"github.com/talos-sriov/talos-sriov/pkg/use/podresources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type lister struct {
	podresourcesv1.UnimplementedPodResourcesListerServer
}

func (lister) List(context.Context, *podresourcesv1.ListPodResourcesRequest) (*podresourcesv1.ListPodResourcesResponse, error) {
	return &podresourcesv1.ListPodResourcesResponse{PodResources: []*podresourcesv1.PodResources{{
		Name: "p", Namespace: "ns",
		Containers: []*podresourcesv1.ContainerResources{{
			Name:    "c",
			Devices: []*podresourcesv1.ContainerDevices{{ResourceName: "a/b", DeviceIds: []string{"0000:21:10.0", "0000:21:10.2"}}},
		}},
	}}}, nil
}

// kubelet serves at path until the test ends or stop is called.
func kubelet(t *testing.T, path string, register func(*grpc.Server)) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	stop = func() { s.Stop(); <-done }
	t.Cleanup(stop)
	return stop
}

func TestAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubelet.sock")
	c := podresources.New(path, nil)
	if k := c.Ask(t.Context()); k.Answered || !strings.Contains(k.Err, "no kubelet listens on "+path) {
		t.Fatalf("without a kubelet: %+v", k)
	}
	stop := kubelet(t, path, func(s *grpc.Server) { podresourcesv1.RegisterPodResourcesListerServer(s, lister{}) })
	k := c.Ask(t.Context())
	if !k.Answered || k.Since.IsZero() {
		t.Fatalf("%+v", k)
	}
	want := []use.Holder{{Device: "0000:21:10.2", Namespace: "ns", Pod: "p", Container: "c", Resource: "a/b", Evidence: use.EvidencePodResources}}
	if d := cmp.Diff(want, k.Held["0000:21:10.2"]); d != "" || len(k.Held) != 2 {
		t.Errorf("%d devices, %s", len(k.Held), d)
	}
	if again := c.Ask(t.Context()); !again.Since.Equal(k.Since) {
		t.Error("the same kubelet counts as a new one")
	}
	stop()
	stop = kubelet(t, path, func(s *grpc.Server) { podresourcesv1.RegisterPodResourcesListerServer(s, lister{}) })
	if again := c.Ask(t.Context()); again.Since.Equal(k.Since) {
		t.Error("a new kubelet counts as the same")
	}
	stop()
	if k := c.Ask(t.Context()); k.Answered {
		t.Error("a dead kubelet answered")
	}
}

// A kubelet that is there and does not answer is one, whatever the call came to, and
// keeps its age; a socket that nobody listens on is none.
func TestListening(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	refused, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("left"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	refused.SetUnlinkOnClose(false)
	refused.Close()
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("unix", at("silent"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	connected, hungUp := context.WithCancel(t.Context()) // ends while List waits
	go func() {
		defer hungUp()
		if conn, err := silent.Accept(); err == nil {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1))
		}
	}()
	kubelet(t, at("other"), func(*grpc.Server) {})
	limited := &limiter{}
	limited.on.Store(true)
	kubelet(t, at("limited"), func(s *grpc.Server) { podresourcesv1.RegisterPodResourcesListerServer(s, limited) })
	for name, want := range map[string]bool{
		"absent": false, "left": false, "file/below": false, "silent": true, "other": true, "limited": true,
	} {
		ctx := t.Context()
		if name == "silent" {
			ctx = connected
		}
		k := podresources.New(at(name), nil).Ask(ctx)
		if k.Answered || k.Listening != want || k.Err == "" {
			t.Errorf("%s: %+v, want listening %v", name, k, want)
		}
	}
}

// limiter answers, but for when it limits the rate.
type limiter struct {
	podresourcesv1.UnimplementedPodResourcesListerServer
	on atomic.Bool
}

func (l *limiter) List(context.Context, *podresourcesv1.ListPodResourcesRequest) (*podresourcesv1.ListPodResourcesResponse, error) {
	if l.on.Load() {
		return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
	}
	return &podresourcesv1.ListPodResourcesResponse{}, nil
}

// A call that fails makes no new kubelet: one that limits the rate would be young for
// ever.
func TestAFailedCallIsNoRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubelet.sock")
	lister := &limiter{}
	kubelet(t, path, func(s *grpc.Server) { podresourcesv1.RegisterPodResourcesListerServer(s, lister) })
	c := podresources.New(path, nil)
	first := c.Ask(t.Context())
	lister.on.Store(true)
	if k := c.Ask(t.Context()); k.Answered || !k.Listening {
		t.Fatalf("%+v", k)
	}
	lister.on.Store(false)
	if again := c.Ask(t.Context()); !first.Answered || !again.Since.Equal(first.Since) {
		t.Errorf("since %s, then %s", first.Since, again.Since)
	}
}

// written is a checkpoint that says whether List was called before it was read.
type written struct{ read func() }

func (w written) Read() use.Checkpoint {
	w.read()
	return use.Checkpoint{Entries: []use.Entry{{PodUID: "u", Resource: "a/b", Devices: []string{"0000:21:10.4"}}}}
}

type claims struct {
	podresourcesv1.UnimplementedPodResourcesListerServer
	listed func()
}

func (c claims) List(context.Context, *podresourcesv1.ListPodResourcesRequest) (*podresourcesv1.ListPodResourcesResponse, error) {
	c.listed()
	return &podresourcesv1.ListPodResourcesResponse{PodResources: []*podresourcesv1.PodResources{
		{Name: "none", Namespace: "ns"},
		{Name: "vm", Namespace: "ns", Containers: []*podresourcesv1.ContainerResources{{
			Name: "c",
			DynamicResources: []*podresourcesv1.DynamicResource{{ClaimName: "vf", ClaimResources: []*podresourcesv1.ClaimResource{
				{DriverName: "sriovnetwork.k8snetworkplumbingwg.io", PoolName: "node", DeviceName: "0000-21-10-6"},
			}}},
		}}},
	}}, nil
}

// What a driver of dynamic resources gave out is held like any other device, under a
// name that is no resource of a pool; pods without a device are known, and the
// checkpoint is from before the answer.
func TestWhatAnAnswerHas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubelet.sock")
	var order []string
	kubelet(t, path, func(s *grpc.Server) {
		podresourcesv1.RegisterPodResourcesListerServer(s, claims{listed: func() { order = append(order, "list") }})
	})
	k := podresources.New(path, written{func() { order = append(order, "checkpoint") }}).Ask(t.Context())
	want := []use.Holder{{
		Device: "0000:21:10.6", Namespace: "ns", Pod: "vm", Container: "c",
		Resource: "sriovnetwork.k8snetworkplumbingwg.io", Evidence: use.EvidencePodResources,
	}}
	if d := cmp.Diff(want, k.Held["0000:21:10.6"]); d != "" || len(k.Held) != 1 {
		t.Errorf("%d devices, %s", len(k.Held), d)
	}
	if d := cmp.Diff(map[use.Pod]bool{{Namespace: "ns", Name: "none"}: true, {Namespace: "ns", Name: "vm"}: true}, k.Pods); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"checkpoint", "list"}, order); d != "" || len(k.Checkpoint.Entries) != 1 {
		t.Errorf("%d entries, %s", len(k.Checkpoint.Entries), d)
	}
}

func TestKubeletWithoutTheService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubelet.sock")
	kubelet(t, path, func(*grpc.Server) {})
	if k := podresources.New(path, nil).Ask(t.Context()); k.Answered || !strings.Contains(k.Err, "does not serve") {
		t.Errorf("%+v", k)
	}
}

// next is a kubelet on which the pod that was waited for is gone, and the next
// one has got its device.
type next struct {
	podresourcesv1.UnimplementedPodResourcesListerServer
	t *testing.T
}

func (n next) List(context.Context, *podresourcesv1.ListPodResourcesRequest) (*podresourcesv1.ListPodResourcesResponse, error) {
	return &podresourcesv1.ListPodResourcesResponse{PodResources: []*podresourcesv1.PodResources{{
		Name: "next", Namespace: "ns",
		Containers: []*podresourcesv1.ContainerResources{{
			Name:    "c",
			Devices: []*podresourcesv1.ContainerDevices{{ResourceName: "a/b", DeviceIds: []string{"0000:21:10.0"}}},
		}},
	}}}, nil
}

func (n next) Get(_ context.Context, req *podresourcesv1.GetPodResourcesRequest) (*podresourcesv1.GetPodResourcesResponse, error) {
	n.t.Errorf("Get of pod %s/%s: what is not found says nothing of the device", req.GetPodNamespace(), req.GetPodName())
	return nil, status.Error(codes.Unknown, "pod not found")
}

// A device's holder is known from the list of all pods, not from asking after
// the one that had it (see doc.go).
func TestTheNextPodHasIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubelet.sock")
	c := podresources.New(path, nil)
	stop := kubelet(t, path, func(s *grpc.Server) { podresourcesv1.RegisterPodResourcesListerServer(s, lister{}) })
	if got := c.Ask(t.Context()).Held["0000:21:10.0"]; len(got) != 1 || got[0].Pod != "p" {
		t.Fatalf("held by %v, want p", got)
	}
	stop()
	kubelet(t, path, func(s *grpc.Server) { podresourcesv1.RegisterPodResourcesListerServer(s, next{t: t}) })
	if got := c.Ask(t.Context()).Held["0000:21:10.0"]; len(got) != 1 || got[0].Pod != "next" {
		t.Errorf("held by %v, want next", got)
	}
}

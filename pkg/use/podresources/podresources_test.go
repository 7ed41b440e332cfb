package podresources_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
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
	c := podresources.New(path)
	if k := c.Ask(t.Context()); k.Answered || !strings.Contains(k.Err, "no kubelet listens on "+path) {
		t.Fatalf("without a kubelet: %+v", k)
	}
	stop := kubelet(t, path, func(s *grpc.Server) { podresourcesv1.RegisterPodResourcesListerServer(s, lister{}) })
	k := c.Ask(t.Context())
	if !k.Answered || k.Since.IsZero() {
		t.Fatalf("%+v", k)
	}
	want := []use.Holder{{Device: "0000:21:10.2", Namespace: "ns", Pod: "p", Container: "c", Evidence: use.EvidencePodResources}}
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

func TestKubeletWithoutTheService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubelet.sock")
	kubelet(t, path, func(*grpc.Server) {})
	if k := podresources.New(path).Ask(t.Context()); k.Answered || !strings.Contains(k.Err, "does not serve") {
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
	c := podresources.New(path)
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

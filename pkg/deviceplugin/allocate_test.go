package deviceplugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
)

var update = flag.Bool("update", false, "write the golden files")

func request(containers ...string) *v1beta1.AllocateRequest {
	req := &v1beta1.AllocateRequest{}
	for _, c := range containers {
		req.ContainerRequests = append(req.ContainerRequests, &v1beta1.ContainerAllocateRequest{DevicesIds: strings.Fields(c)})
	}
	return req
}

// serve starts a kubelet and a manager with the assignment and returns the
// kubelet's connection.
func serve(t *testing.T, a *pool.Assignment, opts deviceplugin.Options) (*rig, *kubelettest.Kubelet, v1beta1.DevicePluginClient, context.Context) {
	t.Helper()
	root := kubelettest.Dir(t)
	k := kubelettest.New(t, root)
	k.Start()
	m := start(t, root, opts)
	m.Update(a)
	for _, p := range a.Pools {
		k.Wait(p.Resource, "a list", func(r kubelettest.Resource) bool { return r.Connected && len(r.Devices) == len(p.Devices) })
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return m, k, k.Client(a.Pools[0].Resource), ctx
}

func TestAllocateGolden(t *testing.T) {
	vf := func(n int) string { return fmt.Sprintf("0000:3b:02.%d", n) }
	kernel := assignment(res + " " + vf(0) + " " + vf(1) + " " + vf(2))
	hyphen := assignment("example.com/a-b " + vf(0))
	vfio := assignment("intel.com/dpdk " + vf(6) + " " + vf(7))
	for i := range vfio.Pools[0].Devices {
		d := &vfio.Pools[0].Devices[i]
		group := fmt.Sprintf("/dev/vfio/%d", 169+i)
		d.Info["vfio"] = map[string]string{"mount": "/dev/vfio/vfio", "dev-mount": group}
		d.Nodes = []pool.Node{
			{HostPath: "/dev/vfio/vfio", ContainerPath: "/dev/vfio/vfio", Permissions: "rw"},
			{HostPath: group, ContainerPath: group, Permissions: "rw"},
		}
	}
	for _, tc := range []struct {
		name string
		a    *pool.Assignment
		req  *v1beta1.AllocateRequest
	}{
		{"one", kernel, request(vf(1))},
		{"request-order", kernel, request(vf(2) + " " + vf(0))},
		{"two-containers", kernel, request(vf(0)+" "+vf(1), vf(2))},
		{"hyphen", hyphen, request(vf(0))},
		{"vfio-common-node-once", vfio, request(vf(6) + " " + vf(7))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, client, ctx := serve(t, tc.a, deviceplugin.Options{})
			var last []byte
			for range 2 { // the first answer is like any other
				resp, err := client.Allocate(ctx, tc.req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := json.MarshalIndent(resp, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				if last != nil && string(last) != string(got) {
					t.Errorf("the second answer differs (-first +second):\n%s", cmp.Diff(string(last), string(got)))
				}
				last = got
			}
			golden(t, filepath.Join("testdata", "allocate", tc.name+".json"), string(last)+"\n")
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func TestAllocateRefused(t *testing.T) {
	var calls int
	m, _, client, ctx := serve(t, assignment(res+" a b c!", "x.y/other o"), deviceplugin.Options{
		Ledger: keeper{note: func(deviceplugin.Allocation) error { calls++; return nil }},
	})
	var many []string
	for i := range 10000 {
		many = append(many, fmt.Sprintf("0000:ff:%02x.%d", i/8, i%8))
	}
	for _, tc := range []struct {
		name string
		req  *v1beta1.AllocateRequest
		code codes.Code
		want string
	}{
		{"no container", request(), codes.InvalidArgument, "names no container"},
		{"nil container", &v1beta1.AllocateRequest{ContainerRequests: []*v1beta1.ContainerAllocateRequest{{}}}, codes.InvalidArgument, "asks for no device"},
		{"unknown", request("z"), codes.NotFound, res + " has no device z: it was removed, or never belonged to this resource"},
		{"one of two unknown", request("a z"), codes.NotFound, "no device z:"},
		{"another pool's", request("o"), codes.NotFound, "no device o:"},
		{"empty id", &v1beta1.AllocateRequest{ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{""}}}}, codes.NotFound, "no device"},
		{"unhealthy", request("a c"), codes.FailedPrecondition, res + ": unhealthy: c (link is down)"},
		{"twice in a container", request("a a"), codes.InvalidArgument, "device a is asked for twice"},
		{"twice in two containers", request("a", "b a"), codes.InvalidArgument, "device a is asked for twice"},
		{"ten thousand", request(strings.Join(many, " ")), codes.NotFound, "and 9996 more"},
		{"a long one", request(strings.Repeat("x", 100000)), codes.NotFound, strings.Repeat("x", 200) + "..."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := client.Allocate(ctx, tc.req)
			if got := status.Code(err); got != tc.code {
				t.Errorf("code %v, want %v (%v)", got, tc.code, err)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 2000 {
				t.Errorf("error %v, want %q in it and a readable length", err, tc.want)
			}
		})
	}
	if calls != 0 {
		t.Errorf("%d refused allocations were noted", calls)
	}
	// Nothing changed: what was free can be had.
	if _, err := client.Allocate(ctx, request("a b")); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
	// What Update took away is gone when Update returns.
	m.Update(assignment(res+" b", "x.y/other o"))
	if _, err := client.Allocate(ctx, request("a")); status.Code(err) != codes.NotFound {
		t.Errorf("a device that is gone: %v", err)
	}
}

// A device that is withdrawn while an Allocate looks is not given out, and what was
// taken is released: who withdrew it has asked who has it, perhaps before it was taken.
func TestAllocateOfWithdrawnDevice(t *testing.T) {
	for name, c := range map[string]struct {
		offer string
		code  codes.Code
	}{
		"unhealthy":        {res + " a! b", codes.FailedPrecondition},
		"gone":             {res + " b", codes.NotFound},
		"its pool is gone": {"x.y/other o", codes.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			var m *rig
			var released []string
			withdraw := sync.OnceFunc(func() { m.Update(assignment(c.offer)) })
			served, _, client, ctx := serve(t, assignment(res+" a b"), deviceplugin.Options{Ledger: keeper{
				note: func(deviceplugin.Allocation) error { withdraw(); return nil },
				done: func(a deviceplugin.Allocation, given bool) {
					if !given {
						released = append(released, a.IDs...)
					}
				},
			}})
			m = served
			if _, err := client.Allocate(ctx, request("b a")); status.Code(err) != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
			if got := strings.Join(released, " "); got != "b a" {
				t.Errorf("released %q, want b and a", got)
			}
		})
	}
}

func TestAllocatedHook(t *testing.T) {
	var got []deviceplugin.Allocation
	var fail error
	_, _, client, ctx := serve(t, assignment(res+" a b c"), deviceplugin.Options{
		Ledger: keeper{note: func(a deviceplugin.Allocation) error { got = append(got, a); return fail }},
	})
	if _, err := client.Allocate(ctx, request("a c", "b")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]deviceplugin.Allocation{{Resource: res, IDs: []string{"a", "c", "b"}}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	fail = errors.New("no space left")
	if _, err := client.Allocate(ctx, request("a")); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v", err)
	}
}

func TestOtherCalls(t *testing.T) {
	_, k, client, ctx := serve(t, assignment(res+" a"), deviceplugin.Options{})
	o, err := client.GetDevicePluginOptions(ctx, &v1beta1.Empty{})
	if err != nil || o.GetPreStartRequired() || !o.GetGetPreferredAllocationAvailable() {
		t.Errorf("options %v, %v", o, err)
	}
	if r := k.Resource(res); !r.Options.GetGetPreferredAllocationAvailable() {
		t.Errorf("the kubelet has options %v", r.Options)
	}
	if _, err := client.PreStartContainer(ctx, &v1beta1.PreStartContainerRequest{DevicesIds: []string{"a"}}); err != nil {
		t.Errorf("PreStartContainer: %v", err)
	}
}

func TestPreferredAllocation(t *testing.T) {
	// assignment puts every other device on the other NUMA node.
	_, _, client, ctx := serve(t, assignment(res+" a b c d"), deviceplugin.Options{})
	ask := func(n int32, available, must string) (string, error) {
		resp, err := client.GetPreferredAllocation(ctx, &v1beta1.PreferredAllocationRequest{ContainerRequests: []*v1beta1.ContainerPreferredAllocationRequest{{
			AvailableDeviceIDs: strings.Fields(available), MustIncludeDeviceIDs: strings.Fields(must), AllocationSize: n,
		}}})
		if err != nil {
			return "", err
		}
		return strings.Join(resp.GetContainerResponses()[0].GetDeviceIDs(), " "), nil
	}
	if got, err := ask(2, "d c b a", ""); err != nil || got != "a c" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := ask(2, "a b c d", "d"); err != nil || got != "b d" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := ask(3, "a b", ""); status.Code(err) != codes.InvalidArgument {
		t.Errorf("error %v", err)
	}
	if _, err := ask(1, strings.Repeat("x ", 10_000), ""); status.Code(err) != codes.InvalidArgument || len(err.Error()) > 500 {
		t.Errorf("error %v", err)
	}
	if got, err := ask(1, "unknown", ""); err != nil || got != "unknown" {
		t.Errorf("got %q, %v", got, err) // the kubelet's list may be older than ours
	}
	if _, err := client.GetPreferredAllocation(ctx, &v1beta1.PreferredAllocationRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("error %v", err)
	}
}

// TestAllocateDuringUpdates: an answer is about one state of the pool.
func TestAllocateDuringUpdates(t *testing.T) {
	m, _, client, ctx := serve(t, assignment(res+" a b"), deviceplugin.Options{})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			m.Update(assignment(res + []string{" a b", " a! b", " b"}[i%3]))
		}
	}()
	for range 200 {
		resp, err := client.Allocate(ctx, request("a b"))
		switch status.Code(err) {
		case codes.OK:
			if got := resp.GetContainerResponses()[0].GetEnvs()[spec.EnvName(res)]; got != "a,b" {
				t.Fatalf("got %q", got)
			}
		case codes.NotFound, codes.FailedPrecondition:
		default:
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
}

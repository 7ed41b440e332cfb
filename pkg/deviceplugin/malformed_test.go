package deviceplugin_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
)

// raw sends the bytes that it is given.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(b)
	return nil
}

// TestMalformedRequests: whatever comes in through the socket, it is answered
// with an error, changes nothing, and the next good request is served.
func TestMalformedRequests(t *testing.T) {
	allocated := 0
	allocations := make(chan struct{}, 1000)
	m, k, client, ctx := serve(t, assignment(res+" a b"), deviceplugin.Options{
		Ledger: keeper{note: func(deviceplugin.Allocation) error { allocations <- struct{}{}; return nil }},
	})
	conn, err := grpc.NewClient("unix:"+socketOf(m, res), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	encode := func(req proto.Message) []byte {
		b, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	many := &v1beta1.AllocateRequest{}
	for i := range 10_000 {
		many.ContainerRequests = append(many.ContainerRequests, &v1beta1.ContainerAllocateRequest{DevicesIds: []string{fmt.Sprint(i)}})
	}
	good := encode(request("a b"))
	for _, tc := range []struct {
		name, method string
		body         []byte
		code         codes.Code
	}{
		{"nothing", "Allocate", nil, codes.InvalidArgument},
		{"no protobuf", "Allocate", []byte("GET / HTTP/1.1"), codes.Internal},
		{"all ones", "Allocate", bytes.Repeat([]byte{0xff}, 64), codes.Internal},
		{"cut off", "Allocate", good[:len(good)-1], codes.Internal},
		{"a length beyond the end", "Allocate", []byte{0x0a, 0xff, 0xff, 0xff, 0x7f}, codes.Internal},
		{"an id that is no UTF-8", "Allocate", []byte{0x0a, 0x03, 0x0a, 0x01, 0xff}, codes.Internal},
		{"another field", "Allocate", []byte{0x12, 0x01, 0x61}, codes.InvalidArgument},
		{"ten thousand containers", "Allocate", encode(many), codes.NotFound},
		{"five megabytes", "Allocate", encode(request(strings.Repeat("x", 5<<20))), codes.ResourceExhausted},
		{"preferred: nothing", "GetPreferredAllocation", nil, codes.InvalidArgument},
		{"preferred: no protobuf", "GetPreferredAllocation", []byte{0x0a, 0x7f}, codes.Internal},
		{"preferred: less than nothing", "GetPreferredAllocation", encode(&v1beta1.PreferredAllocationRequest{
			ContainerRequests: []*v1beta1.ContainerPreferredAllocationRequest{{AvailableDeviceIDs: []string{"a"}, AllocationSize: -1}},
		}), codes.InvalidArgument},
		{"no such method", "Deallocate", nil, codes.Unimplemented},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out []byte
			err := conn.Invoke(ctx, "/v1beta1.DevicePlugin/"+tc.method, &tc.body, &out, grpc.ForceCodec(raw{}))
			if got := status.Code(err); got != tc.code {
				t.Errorf("code %v, want %v (%v, %x)", got, tc.code, err, out)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("an answer of %d characters", len(err.Error()))
			}
			if _, err := client.Allocate(ctx, request("a b")); err != nil {
				t.Fatalf("the next good request: %v", err)
			}
			allocated++
		})
	}
	for range allocated {
		select {
		case <-allocations:
		case <-time.After(10 * time.Second):
			t.Fatal("a good allocation was not noted")
		}
	}
	if len(allocations) != 0 {
		t.Error("a malformed request was noted as an allocation")
	}
	if r := k.Resource(res); r.Registrations != 1 || !r.Connected || r.Lists != 1 {
		t.Errorf("the kubelet was disturbed: %+v", r)
	}
}

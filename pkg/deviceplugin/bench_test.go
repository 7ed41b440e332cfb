package deviceplugin_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/internal/kubelettest"
	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// bench is a running manager on a running kubelet.
type bench struct {
	*deviceplugin.Manager
	kubelet *kubelettest.Kubelet
	stop    func()
}

func startBench(b *testing.B) *bench {
	b.Helper()
	root := kubelettest.Dir(b)
	k := kubelettest.New(b, root)
	k.Start()
	m := deviceplugin.NewManager(deviceplugin.Options{
		KubeletDir: root, SocketDir: filepath.Join(root, "run"), Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return &bench{m, k, func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		k.Stop()
		_ = os.RemoveAll(root)
	}}
}

// BenchmarkStartToFirstList: from nothing to the list in the kubelet's hands,
// with the reading of a made-up sysfs of so many VFs, all in one pool.
func BenchmarkStartToFirstList(b *testing.B) {
	for _, size := range []struct{ pfs, vfs int }{{1, 8}, {1, 256}, {8, 256}, {16, 255}} {
		n := size.pfs * size.vfs
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			root := sysfstest.Make(b, size.pfs, size.vfs)
			cfg, err := spec.LoadResourceList("bench", []byte(`{"resourceList": [{"resourceName": "all", "selectors": {"drivers": ["iavf"]}}]}`))
			if err != nil {
				b.Fatal(err)
			}
			var heap uint64
			for b.Loop() {
				b.StopTimer()
				tree, err := sysfs.Open(root)
				if err != nil {
					b.Fatal(err)
				}
				r := startBench(b)
				b.StartTimer()
				snap, err := inventory.ReadNeeded(b.Context(), tree, nil, inventory.Needs{})
				if err != nil {
					b.Fatal(err)
				}
				r.Update(pool.Assign(cfg, snap, selection.PFs(cfg, snap)))
				r.kubelet.Wait("intel.com/all", "the list", func(res kubelettest.Resource) bool { return len(res.Devices) == n })
				b.StopTimer()
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				heap = max(heap, m.HeapInuse)
				r.stop()
				_ = tree.Close()
				b.StartTimer()
			}
			// With the stand-in kubelet's copy of the list, in the same process.
			b.ReportMetric(float64(heap)/1e6, "heap-MB")
		})
	}
}

func BenchmarkAllocate(b *testing.B) {
	r := startBench(b)
	defer r.stop()
	r.Update(assignment(res + " a b c d"))
	r.kubelet.Wait(res, "the list", func(res kubelettest.Resource) bool { return len(res.Devices) == 4 })
	client := r.kubelet.Client(res)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := client.Allocate(b.Context(), request("a b")); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkRegisterAgain: from a new kubelet.sock to the list; the goal is 50 ms.
func BenchmarkRegisterAgain(b *testing.B) {
	r := startBench(b)
	defer r.stop()
	r.Update(assignment(res + " a"))
	var took []time.Duration
	for b.Loop() {
		r.kubelet.Stop()
		before := r.kubelet.Resource(res).Lists
		start := time.Now()
		r.kubelet.Start()
		r.kubelet.Wait(res, "the list", func(res kubelettest.Resource) bool { return res.Connected && res.Lists > before })
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(50, "goal-ms")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "worst-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkUpdate: from an assignment with one change to the kubelet's having
// the list of 2,048.
func BenchmarkUpdate(b *testing.B) {
	r := startBench(b)
	defer r.stop()
	list := func(change int) *pool.Assignment {
		p := pool.Pool{Resource: res}
		for i := range 2048 {
			p.Devices = append(p.Devices, pool.Device{ID: fmt.Sprintf("0000:%02x:%02x.%d", i/256, i/8%32, i%8), Healthy: i != change%2048})
		}
		return &pool.Assignment{Pools: []pool.Pool{p}}
	}
	r.Update(list(0))
	r.kubelet.Wait(res, "the list", func(res kubelettest.Resource) bool { return res.Connected && len(res.Devices) == 2048 })
	for i := 1; b.Loop(); i++ {
		b.StopTimer()
		next, before := list(i), r.kubelet.Resource(res).Lists
		b.StartTimer()
		r.Update(next)
		r.kubelet.Wait(res, "the update", func(res kubelettest.Resource) bool { return res.Lists > before })
	}
}

// BenchmarkPreferred is GetPreferredAllocation over the socket, 8 of 2,048.
func BenchmarkPreferred(b *testing.B) {
	r := startBench(b)
	defer r.stop()
	p := pool.Pool{Resource: res}
	var ids []string
	for i := range 2048 {
		id := fmt.Sprint(i)
		ids = append(ids, id)
		p.Devices = append(p.Devices, pool.Device{ID: id, PF: fmt.Sprint(i % 16), NUMANode: i % 8, Healthy: true})
	}
	r.Update(&pool.Assignment{Pools: []pool.Pool{p}})
	r.kubelet.Wait(res, "the list", func(res kubelettest.Resource) bool { return len(res.Devices) == len(ids) })
	client := r.kubelet.Client(res)
	req := &v1beta1.PreferredAllocationRequest{ContainerRequests: []*v1beta1.ContainerPreferredAllocationRequest{{AvailableDeviceIDs: ids, AllocationSize: 8}}}
	for b.Loop() {
		if _, err := client.GetPreferredAllocation(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

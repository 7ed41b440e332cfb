package differential

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	oci "github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
	"github.com/talos-sriov/talos-sriov/pkg/selection"
	"github.com/talos-sriov/talos-sriov/pkg/spec"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// cdiConfig has every kind of device that has nodes, two pools of one prefix and
// type, one of another prefix, and one whose devices have no nodes.
const cdiConfig = `{"resourceList": [
	{"resourceName": "dpdk", "selectors": {"drivers": ["vfio-pci"], "pfNames": ["ens1f0"], "needVhostNet": true}},
	{"resourceName": "uio", "selectors": {"drivers": ["igb_uio", "uio_pci_generic"]}},
	{"resourceName": "rdma-net_1", "resourcePrefix": "nvidia.com", "selectors": {"vendors": ["15b3"], "isRdma": true}},
	{"resourceName": "sf", "resourcePrefix": "nvidia.com", "deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"], "isRdma": true}},
	{"resourceName": "fpga", "deviceType": "accelerator", "selectors": {"devices": ["0d90"]}},
	{"resourceName": "plain", "selectors": {"pfNames": ["ens2f1"]}}
]}`

// assigned is the assignment of a configuration on a made-up machine.
func assigned(t *testing.T, m *machine, config string) *pool.Assignment {
	t.Helper()
	root := t.TempDir()
	if err := m.writeSysfs(root); err != nil {
		t.Fatal(err)
	}
	fs, err := sysfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fs.Close() }()
	snap, err := inventory.Read(t.Context(), fs, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := spec.LoadResourceList("config.json", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	cfg.DevicePlugin.CDI = true
	return pool.Assign(cfg, snap, selection.PFs(cfg, snap))
}

// offered runs the device plugin in CDI mode with the assignment, and returns
// the directory of its CDI files and a way to allocate.
func offered(t *testing.T, a *pool.Assignment) (dir string, allocate func(resource string, ids []string) *v1beta1.ContainerAllocateResponse) {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "k") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	plugins := filepath.Join(root, "device-plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	m := deviceplugin.NewManager(deviceplugin.Options{KubeletDir: root, SocketDir: filepath.Join(root, "run"), CDIDir: dir, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	m.Update(a)
	return dir, func(resource string, ids []string) *v1beta1.ContainerAllocateResponse {
		t.Helper()
		socket := func() string {
			for _, s := range m.Status() {
				if s.Resource == resource {
					return s.Socket
				}
			}
			return ""
		}
		deadline := time.After(10 * time.Second)
		path := socket()
		for ; path == ""; path = socket() {
			select {
			case <-m.Changed():
			case <-deadline:
				t.Fatalf("no socket for %s in 10 s", resource)
			}
		}
		conn, err := dial(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		resp, err := v1beta1.NewDevicePluginClient(conn).Allocate(t.Context(), &v1beta1.AllocateRequest{
			ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: ids}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetContainerResponses()[0]
	}
}

func ids(p *pool.Pool) []string {
	var out []string
	for i := range p.Devices {
		out = append(out, p.Devices[i].ID)
	}
	return out
}

// load reads the directory as a container runtime does; any fault of any file is
// fatal.
func load(t *testing.T, dir string) *cdi.Cache {
	t.Helper()
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dir), cdi.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Refresh(); err != nil {
		t.Fatalf("the library refuses the files: %v", err)
	}
	for path, errs := range cache.GetErrors() {
		t.Errorf("%s: %v", path, errs)
	}
	return cache
}

// TestCDI: the library accepts every file, knows exactly the devices that have
// nodes, and resolves each name that Allocate gives.
func TestCDI(t *testing.T) {
	a := assigned(t, server(), cdiConfig)
	dir, allocate := offered(t, a)
	cache := load(t, dir)
	var want []string
	for i := range a.Pools {
		p := &a.Pools[i]
		resp := allocate(p.Resource, ids(p))
		if len(resp.GetDevices()) != 0 {
			t.Errorf("%s: nodes through the kubelet too: %v", p.Resource, resp.GetDevices())
		}
		var field []string
		for _, d := range resp.GetCdiDevices() {
			field = append(field, d.GetName())
		}
		keys, annotated, err := cdi.ParseAnnotations(resp.GetAnnotations())
		if err != nil {
			t.Errorf("%s: annotations %v: %v", p.Resource, resp.GetAnnotations(), err)
		}
		if !slices.Equal(field, annotated) {
			t.Errorf("%s: CDIDevices %v, annotations %v", p.Resource, field, annotated)
		}
		if nodes := len(p.Devices) > 0 && len(p.Devices[0].Nodes) > 0; nodes != (len(field) > 0) || len(keys) > 1 {
			t.Errorf("%s: names %v in %v", p.Resource, field, keys)
		}
		for _, name := range field {
			if cache.GetDevice(name) == nil {
				t.Errorf("%s: the library does not know %s", p.Resource, name)
			}
		}
		want = append(want, field...)
	}
	slices.Sort(want)
	if got := cache.ListDevices(); !slices.Equal(want, got) || len(got) < 12 {
		t.Errorf("the library has %v, want %v", got, want)
	}
	// The version that a file states is one that knows all that is in it.
	paths, err := filepath.Glob(dir + "/*.json")
	if err != nil || len(paths) != 5 {
		t.Fatalf("files %v, %v", paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var s cdispecs.Spec
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		least, err := cdispecs.MinimumRequiredVersion(&s)
		if err != nil || least > s.Version { // of one digit each
			t.Errorf("%s states version %s and needs %s (%v)", path, s.Version, least, err)
		}
	}
}

// TestCDIInject: a container's specification gets each device's nodes under
// their names in the container, and the right to use them. A runtime reads
// the node on the host; here that is /dev/null for all.
func TestCDIInject(t *testing.T) {
	a := assigned(t, server(), cdiConfig)
	for i := range a.Pools {
		for j := range a.Pools[i].Devices {
			for k := range a.Pools[i].Devices[j].Nodes {
				a.Pools[i].Devices[j].Nodes[k].HostPath = "/dev/null"
			}
		}
	}
	dir, allocate := offered(t, a)
	cache := load(t, dir)
	for i := range a.Pools {
		p := &a.Pools[i]
		for j := range p.Devices {
			d := &p.Devices[j]
			_, names, err := cdi.ParseAnnotations(allocate(p.Resource, []string{d.ID}).GetAnnotations())
			if err != nil {
				t.Fatal(err)
			}
			container := &oci.Spec{Linux: &oci.Linux{}}
			if len(names) > 0 {
				if missing, err := cache.InjectDevices(container, names...); err != nil {
					t.Fatalf("%s: %v (%v)", d.ID, err, missing)
				}
			}
			var want, got []string
			for _, n := range d.Nodes {
				want = append(want, n.ContainerPath)
			}
			for _, n := range container.Linux.Devices {
				got = append(got, n.Path)
				if n.Type != "c" || n.Major != 1 || n.Minor != 3 {
					t.Errorf("%s: node %+v is not the host's", d.ID, n)
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("%s: the container has %v, want %v", d.ID, got, want)
			}
			if len(want) == 0 {
				continue
			}
			if r := container.Linux.Resources; r == nil || len(r.Devices) == 0 {
				t.Errorf("%s: the container may not use its devices", d.ID)
				continue
			}
			for _, r := range container.Linux.Resources.Devices {
				if !r.Allow || strings.Trim(r.Access, "rw") != "" || len(r.Access) != 2 {
					t.Errorf("%s: rule %+v, want rw", d.ID, r)
				}
			}
		}
	}
}

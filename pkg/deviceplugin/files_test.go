package deviceplugin_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talos-sriov/talos-sriov/pkg/deviceplugin"
	"github.com/talos-sriov/talos-sriov/pkg/pool"
)

const vf0, vf1 = "0000:3b:02.0", "0000:3b:02.1"

// withInfo is a pool of two VFs that have device-info; the second is on vfio.
func withInfo(resource string) *pool.Assignment {
	a := assignment(resource + " " + vf0 + " " + vf1)
	for i := range a.Pools[0].Devices {
		d := &a.Pools[0].Devices[i]
		d.Kind = pool.KindNet
		d.DeviceInfo = &pool.DeviceInfo{Type: "pci", Version: pool.DeviceInfoVersion, PCI: &pool.PCIInfo{Address: d.ID, PFPCIAddress: "0000:3b:00.0"}}
	}
	a.Pools[0].Devices[1].Nodes = []pool.Node{
		{HostPath: "/dev/vfio/vfio", ContainerPath: "/dev/vfio/vfio", Permissions: "rw"},
		{HostPath: "/dev/vfio/noiommu-4", ContainerPath: "/dev/vfio/4", Permissions: "rw"},
	}
	return a
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestDeviceInfoFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "devinfo", "dp")
	m, _, client, ctx := serve(t, withInfo(res), deviceplugin.Options{DeviceInfoDir: dir})
	for range 2 { // allocated again after its pod is gone, before anybody cleaned up
		if _, err := client.Allocate(ctx, request(vf0, vf1)); err != nil {
			t.Fatal(err)
		}
	}
	first := "nvidia.com-cx7_qsfp-" + vf0 + "-device.json"
	text, err := os.ReadFile(filepath.Join(dir, first))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:02.0","pf-pci-address":"0000:3b:00.0"}}`; string(text) != want {
		t.Errorf("content %s, want %s", text, want)
	}
	if fi, err := os.Stat(filepath.Join(dir, first)); err != nil || fi.Mode().Perm() != 0o444 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	others := []string{"nvidia.com-cx7_qsfp-2-" + vf0 + "-device.json", "intel.com-x-" + vf0 + "-device.json", "nvidia.com-cx7_qsfp-" + vf0 + ".txt"}
	for _, o := range others {
		if err := os.WriteFile(filepath.Join(dir, o), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The stop of the plugin leaves the files of running pods.
	m.stop()
	if got := len(names(t, dir)); got != 2+len(others) {
		t.Errorf("files after the stop: %v", names(t, dir))
	}
	if err := m.Settle(func(id string) bool { return id == vf1 }); err != nil {
		t.Fatal(err)
	}
	want := append([]string{"nvidia.com-cx7_qsfp-" + vf1 + "-device.json"}, others...)
	slices.Sort(want)
	if d := cmp.Diff(want, names(t, dir)); d != "" {
		t.Errorf("files after the pod of %s is gone (-want +got):\n%s", vf0, d)
	}
}

func TestDeviceInfoNotWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, client, ctx := serve(t, withInfo(res), deviceplugin.Options{DeviceInfoDir: filepath.Join(file, "dp")})
	_, err := client.Allocate(ctx, request(vf0))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "device-info file") {
		t.Errorf("error %v", err)
	}
}

func TestCDI(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sriovd-stale.json", "vendor.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	with := func() *pool.Assignment {
		a := withInfo(res)
		a.Pools[0].CDI = true
		return a
	}
	m, _, client, ctx := serve(t, with(), deviceplugin.Options{CDIDir: dir})
	const file = "sriovd-nvidia.com-net-pci-cx7_qsfp.json"
	if d := cmp.Diff([]string{file, "vendor.json"}, names(t, dir)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	// Somebody cleans the directory: the allocation puts the file back.
	if err := os.Remove(filepath.Join(dir, file)); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Allocate(ctx, request(vf0+" "+vf1))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(resp, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/allocate/cdi.json", string(text)+"\n")
	text, err = os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/cdi.json", string(text))

	// The config says otherwise, and back.
	m.Update(withInfo(res))
	if d := cmp.Diff([]string{"vendor.json"}, names(t, dir)); d != "" {
		t.Errorf("files without CDI (-want +got):\n%s", d)
	}
	resp, err = client.Allocate(ctx, request(vf1))
	if err != nil {
		t.Fatal(err)
	}
	if c := resp.GetContainerResponses()[0]; len(c.GetDevices()) != 2 || len(c.GetCdiDevices()) != 0 || len(c.GetAnnotations()) != 0 {
		t.Errorf("without CDI: %v", c)
	}
	m.Update(with())
	if d := cmp.Diff([]string{file, "vendor.json"}, names(t, dir)); d != "" {
		t.Errorf("files with CDI again (-want +got):\n%s", d)
	}

	// Devices without nodes need no CDI; the last one with nodes takes the file
	// with it.
	without := assignment(res + " " + vf0)
	without.Pools[0].CDI = true
	m.Update(without)
	if d := cmp.Diff([]string{"vendor.json"}, names(t, dir)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	resp, err = client.Allocate(ctx, request(vf0))
	if err != nil || len(resp.GetContainerResponses()[0].GetCdiDevices()) != 0 || len(resp.GetContainerResponses()[0].GetAnnotations()) != 0 {
		t.Errorf("response %v, %v", resp, err)
	}
}

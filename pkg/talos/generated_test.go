package talos_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talos-sriov/talos-sriov/pkg/talos"
)

var update = flag.Bool("update", false, "write testdata/generated")

// TestGenerated keeps what is generated as files, in the layout of
// machineconfig-patches: the modules in test/contracts give them to Talos of each
// version.
func TestGenerated(t *testing.T) {
	const root = "testdata/generated"
	want := make(map[string][]byte)
	add := func(name string, data []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if data != nil {
			want[name] = data
		}
	}
	for name, needs := range map[string]talos.Needs{
		"plain.yaml":   {},
		"vfs.yaml":     {VFs: []string{"15B3:101E", "8086:154C"}},
		"modules.yaml": {VFs: []string{"15B3:101E"}, Modules: []string{"mlx5_vdpa", "vfio_pci"}},
	} {
		for version, dir := range map[string]string{"1.13": ".", "1.14": "v1.14"} {
			patch, err := talos.Patch(mixed(), needs, minor(t, version))
			add(filepath.Join(dir, name), patch, err)
		}
		add(filepath.Join("once", name), talos.OncePatch(needs, minor(t, "1.13")), nil)
	}
	if *update {
		for name, data := range want {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Errorf("%v (go test ./pkg/talos -run TestGenerated -update makes it)", err)
			continue
		}
		if diff := cmp.Diff(string(data), string(got)); diff != "" {
			t.Errorf("%s (-generated +file):\n%s", name, diff)
		}
	}
}

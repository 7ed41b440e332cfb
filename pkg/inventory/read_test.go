package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"gopkg.in/yaml.v3"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each archive in testdata is read without a network; what comes out is
// reviewed as JSON and as the table.
func TestReadGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.sysfs")
	if err != nil || len(archives) < 8 {
		t.Fatalf("found %d archives: %v", len(archives), err)
	}
	for _, archive := range archives {
		name := strings.TrimSuffix(archive, ".sysfs")
		t.Run(filepath.Base(name), func(t *testing.T) {
			s, err := Read(t.Context(), sysfstest.Load(t, archive).Tree(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			asJSON, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			var asTable bytes.Buffer
			if err := Table(&asTable, s); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", append(asJSON, '\n'))
			golden(t, name+".txt", asTable.Bytes())
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, rewrite with -update):\n%s", file, diff)
	}
}

// The snapshot does not depend on who is read first.
func TestReadIsDeterministic(t *testing.T) {
	tree := sysfstest.Load(t, "testdata/faulty.sysfs").Tree(t)
	first, err := Read(t.Context(), tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := Read(t.Context(), tree, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("two readings differ:\n%s", diff)
		}
	}
}

// YAML has the same as JSON, with the same keys.
func TestYAMLEqualsJSON(t *testing.T) {
	s, err := Read(t.Context(), sysfstest.Load(t, "testdata/switchdev.sysfs").Tree(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var fromJSON, fromYAML any // JSON is YAML
	if err := errors.Join(yaml.Unmarshal(j, &fromJSON), yaml.Unmarshal(y, &fromYAML)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
		t.Errorf("JSON and YAML differ:\n%s", diff)
	}
}

// Without a PCI bus there is nothing to read: the path is wrong, or so is
// the machine.
func TestReadNeedsPCI(t *testing.T) {
	tree := sysfstest.Parse(t, "empty", "class/net").Tree(t)
	_, err := Read(t.Context(), tree, nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), sysfs.PCIDevices) {
		t.Errorf("error %v", err)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	tree := sysfstest.Load(t, "testdata/82576.sysfs").Tree(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Read(ctx, tree, nil); !errors.Is(err, context.Canceled) || s != nil {
		t.Errorf("Read = %v, %v", s, err)
	}
}

// Trees made by hand for other software have directories where sysfs has links and
// no class directory.
func TestReadPlainTree(t *testing.T) {
	tree := sysfstest.Parse(t, "plain", `
bus/pci/devices/0000:02:00.0
  vendor = 0x8086
  device = 0x10c9
  class = 0x020000
  driver -> igb
  sriov_totalvfs = 7
  sriov_numvfs = 1
  virtfn0 -> 0000:02:10.0
bus/pci/devices/0000:02:00.0/net/eth0
bus/pci/devices/0000:02:10.0
  vendor = 0x8086
  device = 0x10ca
  class = 0x020000
  driver -> igbvf
  iommu_group = 0
bus/pci/devices/0000:02:10.0/net/eth1
`).Tree(t)
	s, err := Read(t.Context(), tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.PFs) != 1 || len(s.PFs[0].VFs) != 1 {
		t.Fatalf("snapshot %+v", s)
	}
	pf, vf := &s.PFs[0], &s.PFs[0].VFs[0]
	if pf.Name() != "eth0" || pf.Driver != "igb" || vf.Netdevs[0].Name != "eth1" || vf.Driver != "igbvf" || vf.IOMMUGroup != -1 {
		t.Errorf("PF %+v, VF %+v", pf, vf)
	}
}

func TestSnapshotLookups(t *testing.T) {
	s, err := Read(t.Context(), sysfstest.Load(t, "testdata/x710.sysfs").Tree(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	pf := s.PF("0000:3b:00.0")
	if pf == nil || pf.Name() != "eno1" || pf.VF(2).Address != "0000:3b:02.2" || pf.VF(3) != nil || s.PF("0000:3b:02.0") != nil {
		t.Errorf("lookups in %+v", s)
	}
}

func TestAERTotal(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want int64
	}{
		{"Undefined 0\nTOTAL_ERR_FATAL 3\n", 3}, {"TOTAL_ERR_NONFATAL 12", 12},
		{"", 0}, {"TOTAL_ERR_FATAL", 0}, {"TOTAL_ERR_FATAL many", 0},
	} {
		if got := aerTotal(tc.in); got != tc.want {
			t.Errorf("aerTotal(%q) = %d, want %d", tc.in, got, tc.want)
		}
	}
}

// BenchmarkRead is what the first list of a resource list needs.
func BenchmarkRead(b *testing.B) {
	for _, size := range []struct {
		name     string
		pfs, vfs int
	}{{"8", 1, 8}, {"256", 2, 128}, {"2048", 16, 128}, {"4080", 16, 255}} {
		b.Run(size.name, func(b *testing.B) {
			fs, err := sysfs.Open(sysfstest.Make(b, size.pfs, size.vfs))
			if err != nil {
				b.Fatal(err)
			}
			defer fs.Close()
			for b.Loop() {
				s, err := ReadNeeded(b.Context(), fs, nil, Needs{})
				if err != nil || len(s.PFs) != size.pfs || len(s.PFs[0].VFs) != size.vfs || len(s.Notes) > 0 {
					b.Fatalf("%d PFs, %v, notes %v", len(s.PFs), err, s.Notes)
				}
			}
		})
	}
}

// What is not needed is left out, and nothing else differs.
func TestReadNeeded(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.sysfs")
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			if filepath.Base(archive) == "faulty.sysfs" {
				return // fewer questions, fewer notes
			}
			tree := sysfstest.Load(t, archive).Tree(t)
			want, err := Read(t.Context(), tree, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want.Others {
				want.Others[i].AER, want.Others[i].ACPIIndex, want.Others[i].DriverOverride = nil, "", ""
			}
			for i := range want.PFs {
				want.PFs[i].DriverOverride = ""
				for j := range want.PFs[i].VFs {
					f := &want.PFs[i].VFs[j].Function
					f.AER, f.ACPIIndex, f.DriverOverride = nil, "", ""
					for k, d := range f.Netdevs {
						if len(want.PFs[i].Netdevs) > 0 {
							f.Netdevs[k] = Netdev{Name: d.Name, LinkType: want.PFs[i].Netdevs[0].LinkType}
						}
					}
				}
			}
			got, err := ReadNeeded(t.Context(), tree, nil, Needs{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-everything +needed):\n%s", diff)
			}
		})
	}
}

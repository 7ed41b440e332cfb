package sysfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/sysfstest"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

const tree = `
devices/pci0000:20/0000:20:00.0/0000:21:00.0
  vendor = 0x8086
  device = 0x10c9
  class = 0x020000
  driver -> igb
  sriov_numvfs = 2
  virtfn0 -> 0000:21:10.0
devices/pci0000:20/0000:20:00.0/0000:21:00.0/net/eth0
  address = 52:54:00:00:00:01
devices/pci0000:20/0000:20:00.0/0000:21:10.0
  vendor = 0x8086
  device = 0x10ca
  class = 0x020000
  driver -> igbvf
  iommu_group -> 3
# Not as deep as a directory in bus/pci/devices: a lexical join would go wrong.
devices/pci0000:00/0000:00:05.0
  vendor = 0x8086
  device = 0x1889
  class = 0x020000
  driver -> iavf
`

func open(t *testing.T) (*sysfs.FS, string) {
	t.Helper()
	f := sysfstest.Parse(t, "tree", tree)
	return f.Open(t), f.Root
}

func TestRead(t *testing.T) {
	fs, _ := open(t)
	for _, name := range []string{
		"devices/pci0000:20/0000:20:00.0/0000:21:00.0/vendor",
		"bus/pci/devices/0000:21:00.0/vendor",
		"class/net/eth0/../../vendor",
		"bus/pci/devices/0000:21:00.0/virtfn0/physfn/vendor",
	} {
		if b, err := fs.ReadFile(name); err != nil || string(b) != "0x8086\n" {
			t.Errorf("ReadFile(%s) = %q, %v", name, b, err)
		}
	}
	if s, err := sysfs.ReadString(fs, sysfs.DeviceAttr("0000:21:10.0", sysfs.AttrDevice)); err != nil || s != "0x10ca" {
		t.Errorf("ReadString = %q, %v", s, err)
	}
	if n, err := sysfs.ReadInt(fs, sysfs.NumVFs("0000:21:00.0")); err != nil || n != 2 {
		t.Errorf("ReadInt = %d, %v", n, err)
	}
	if _, err := sysfs.ReadInt(fs, sysfs.DeviceAttr("0000:21:00.0", "vendor")); err == nil || !strings.Contains(err.Error(), `"0x8086" is not a decimal number`) {
		t.Errorf("ReadInt of a hexadecimal attribute: %v", err)
	}
}

func TestReadDir(t *testing.T) {
	f, _ := open(t)
	got, err := f.ReadDir(sysfs.PCIDevices)
	if want := []string{"0000:00:05.0", "0000:21:00.0", "0000:21:10.0"}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("ReadDir = %v, %v; want %v", got, err, want)
	}
	if _, err := f.ReadDir("class/none"); !errors.Is(err, fs.ErrNotExist) || !sysfs.IsAbsent(err) {
		t.Errorf("ReadDir of a missing directory: %v", err)
	}
	if _, err := f.ReadDir("bus/pci/devices/0000:21:00.0/vendor"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("ReadDir of a file: %v", err)
	}
}

// A large directory takes several reads of the directory.
func TestReadDirLarge(t *testing.T) {
	root := t.TempDir()
	const n = 3000
	for i := range n {
		if err := os.Symlink("x", filepath.Join(root, strings.Repeat("n", 8)+string(rune('a'+i/676))+string(rune('a'+i/26%26))+string(rune('a'+i%26)))); err != nil {
			t.Fatal(err)
		}
	}
	f, err := sysfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names, err := f.ReadDir("."); err != nil || len(names) != n {
		t.Errorf("ReadDir gave %d names, %v; want %d", len(names), err, n)
	}
}

func TestReadLink(t *testing.T) {
	f, _ := open(t)
	const pf = "devices/pci0000:20/0000:20:00.0/0000:21:00.0"
	const vf = "devices/pci0000:20/0000:20:00.0/0000:21:10.0"
	for _, tc := range []struct{ name, want string }{
		{"bus/pci/devices/0000:21:00.0", pf},
		{"class/net/eth0", pf + "/net/eth0"},
		{pf + "/virtfn0", vf},
		{vf + "/physfn", pf},
		{vf + "/iommu_group", "kernel/iommu_groups/3"},
		{pf + "/driver", "bus/pci/drivers/igb"},
		// Links on the way are resolved first.
		{"bus/pci/devices/0000:21:00.0/virtfn0", vf},
		{"bus/pci/devices/0000:21:00.0/driver", "bus/pci/drivers/igb"},
		{"bus/pci/devices/0000:00:05.0/driver", "bus/pci/drivers/iavf"},
		{"bus/pci/devices/0000:21:00.0/virtfn0/driver", "bus/pci/drivers/igbvf"},
		{"bus/pci/devices/0000:21:10.0/physfn/virtfn0/iommu_group", "kernel/iommu_groups/3"},
	} {
		if got, err := f.ReadLink(tc.name); err != nil || got != tc.want {
			t.Errorf("ReadLink(%s) = %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
	if _, err := f.ReadLink(pf + "/vendor"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("ReadLink of a file: %v", err)
	}
	if _, err := f.ReadLink(vf + "/virtfn0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadLink of nothing: %v", err)
	}
}

// Nothing, link or dots, leads out of the root.
func TestRooted(t *testing.T) {
	f, root := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(filepath.Join(root, "class"), secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"class/abs": secret, "class/rel": rel, "class/dir": filepath.Dir(rel)} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"class/abs", "class/rel", "class/dir/secret", "class/" + rel, secret} {
		if b, err := f.ReadFile(name); !errors.Is(err, unix.EXDEV) {
			t.Errorf("ReadFile(%s) = %q, %v; want EXDEV", name, b, err)
		}
		if err := f.Write(name, "new"); !errors.Is(err, unix.EXDEV) {
			t.Errorf("Write(%s) = %v; want EXDEV", name, err)
		}
	}
	if got, err := f.ReadLink("class/rel"); err == nil && strings.Contains(got, "..") {
		t.Errorf("ReadLink leads out: %q", got)
	}
	if got, err := f.ReadLink("class/abs"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("ReadLink of an absolute link = %q, %v", got, err)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "old" {
		t.Errorf("the file outside is now %q, %v", b, err)
	}
}

func TestWrite(t *testing.T) {
	f, root := open(t)
	name := sysfs.NumVFs("0000:21:00.0")
	if err := f.Write(name, "4"); err != nil {
		t.Fatal(err)
	}
	// Not truncated, as nothing is in sysfs: the file keeps what was longer.
	if b, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(b) != "4\n" {
		t.Errorf("the attribute is %q, %v", b, err)
	}

	err := f.Write(sysfs.DeviceAttr("0000:21:00.0", "sriov_numvf"), "4")
	var pe *sysfs.PathError
	if !errors.As(err, &pe) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Write of a mistyped name: %v", err)
	}
	if want := (sysfs.PathError{Op: "write", Path: root + "/bus/pci/devices/0000:21:00.0/sriov_numvf", Value: "4", Err: unix.ENOENT}); *pe != want {
		t.Errorf("error %#v, want %#v", *pe, want)
	}
	if want := `write "4" to ` + root + `/bus/pci/devices/0000:21:00.0/sriov_numvf: no such file or directory`; err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
	if names, err := f.ReadDir("bus/pci/devices/0000:21:00.0"); err != nil || slices.Contains(names, "sriov_numvf") {
		t.Errorf("after a mistyped write the directory has %v, %v", names, err)
	}
}

// The errno of the write itself comes through: /proc has files whose write
// fails as a driver's does.
func TestWriteErrno(t *testing.T) {
	f, err := sysfs.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Write("oom_score_adj", "no number")
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("error %v, want EINVAL", err)
	}
}

// The errno of the read itself comes through, at once.
func TestReadErrno(t *testing.T) {
	f, _ := open(t)
	_, err := f.ReadFile("class")
	var pe *sysfs.PathError
	if !errors.As(err, &pe) || pe.Op != "read" || !errors.Is(err, unix.EISDIR) {
		t.Errorf("ReadFile of a directory: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	if _, err := sysfs.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sysfs.Open(file); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Open of a file: %v", err)
	}
}

// No descriptor stays open, whatever is asked.
func TestNoDescriptorLeak(t *testing.T) {
	f, _ := open(t)
	before := descriptors(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				for _, name := range []string{"bus/pci/devices/0000:21:00.0/vendor", "bus/pci/devices/none", "class"} {
					_, _ = f.ReadFile(name)
					_, _ = f.ReadDir(name)
					_, _ = f.ReadLink(name)
					_ = f.Write(name+"x", "1")
				}
			}
		})
	}
	wg.Wait()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func BenchmarkReadFile(b *testing.B) {
	f, err := sysfs.Open("/sys")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		if _, err := f.ReadFile("class/net/lo/mtu"); err != nil {
			b.Fatal(err)
		}
	}
}

// While anything on the machine is renamed, openat2 answers EAGAIN for a name
// whose links climb with "..", as those of sysfs do. Nobody above may see that:
// a CNI ADD failed by another pod's mount was how it showed.
func TestRenamesElsewhere(t *testing.T) {
	f, root := open(t)
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}

	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(a, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var renames sync.WaitGroup
	renames.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(os.Rename(a, b), os.Rename(b, a)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer renames.Wait()
	defer close(stop)

	const pf = "bus/pci/devices/0000:21:00.0"
	const link = pf + "/virtfn0/physfn"
	refused := 0
	for try := 0; refused < 20; try++ {
		if try == 2_000_000 {
			t.Skipf("the kernel refused %d of %d opens in spite of the renames: nothing to show", refused, try)
		}
		raw, err := unix.Openat2(fd, link, &how)
		switch {
		case err == nil:
			unix.Close(raw)
		case errors.Is(err, unix.EAGAIN):
			refused++
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			t.Skipf("openat2 is missing here: %v", err)
		default:
			t.Fatal(err)
		}
		if names, err := f.ReadDir(link + "/net"); err != nil || len(names) != 1 {
			t.Fatalf("ReadDir = %v, %v", names, err)
		}
		if err := f.Write(pf+"/sriov_numvfs", "2"); err != nil {
			t.Fatal(err)
		}
	}
}

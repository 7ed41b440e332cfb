package use_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// onVFIO is a VF on a vfio driver, in IOMMU group 7.
func onVFIO(change ...func(*inventory.VF)) *inventory.VF {
	v := &inventory.VF{Function: inventory.Function{Address: vf, Class: "020000", Driver: "vfio-pci", IOMMUGroup: 7}}
	for _, c := range change {
		c(v)
	}
	return v
}

func driver(name string) func(*inventory.VF) { return func(v *inventory.VF) { v.Driver = name } }
func noIOMMU(v *inventory.VF)                { v.NoIOMMU = true }
func noGroup(v *inventory.VF)                { v.IOMMUGroup = -1 }

// sysTree is a sysfs that has the VF: "gone" has no such function, "unbound" one
// without a driver, "cdev" one on vfio-pci with the node vfio3; any other word is
// the driver that has it.
func sysTree(t *testing.T, word string) sysfs.Tree {
	t.Helper()
	root := t.TempDir()
	mkdir := func(p string) string {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link := func(to, at string) {
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	devices := mkdir("bus/pci/devices")
	if word != "gone" {
		fn := mkdir("devices/pci0000:20/" + vf)
		link("../../../devices/pci0000:20/"+vf, filepath.Join(devices, vf))
		drv := word
		if word == "cdev" {
			drv = "vfio-pci"
			mkdir("devices/pci0000:20/" + vf + "/vfio-dev/vfio3")
		}
		if word != "unbound" {
			mkdir("bus/pci/drivers/" + drv)
			link("../../../bus/pci/drivers/"+drv, filepath.Join(fn, "driver"))
		}
	}
	fs, err := sysfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	return fs
}

// Whether a VF is open is decided by what open(2) of its group answers. Files of
// all kinds stand in the places of device nodes; /dev/null is one.
func TestVFIOAsksTheKernel(t *testing.T) {
	node := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dev string) {
			if err := os.Symlink("/dev/null", filepath.Join(dev, "vfio", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := func(f func(path string) error) func(*testing.T, string) {
		return func(t *testing.T, dev string) {
			if err := f(filepath.Join(dev, "vfio/7")); err != nil {
				t.Fatal(err)
			}
		}
	}
	nothing := func(*testing.T, string) {}
	for _, c := range []struct {
		name string
		vf   *inventory.VF
		dev  func(*testing.T, string)
		sys  string // see sysTree; "" for none
		want use.Openness
		err  error // of OpenUnknown
	}{
		{"a node that opens", onVFIO(), node("7"), "", use.Closed, nil},
		{"a variant driver's", onVFIO(driver("mlx5_vfio_pci")), node("7"), "", use.Closed, nil},
		{"no-IOMMU mode", onVFIO(noIOMMU), node("noiommu-7"), "", use.Closed, nil},
		{"no-IOMMU mode does not ask the ordinary group", onVFIO(noIOMMU), node("7"), "vfio-pci", use.OpenUnknown, use.ErrNoGroup},
		{"no node", onVFIO(), nothing, "", use.OpenUnknown, use.ErrNoGroup},
		{"no node, the device is on vfio", onVFIO(), nothing, "vfio-pci", use.OpenUnknown, use.ErrNoGroup},
		{"no node, the kernel has nodes of devices only", onVFIO(), nothing, "cdev", use.OpenUnknown, use.ErrNoGroup},
		{"no group at all", onVFIO(noGroup), node("7"), "cdev", use.OpenUnknown, use.ErrNoGroup},
		{"no node, an unbind is under way", onVFIO(), nothing, "unbound", use.OpenUnknown, use.ErrNoGroup},
		{"no node, another driver has the device", onVFIO(), nothing, "igbvf", use.Closed, nil},
		{"no node, the device is gone", onVFIO(), nothing, "gone", use.Closed, nil},
		{"a regular file", onVFIO(), at(func(p string) error { return os.WriteFile(p, nil, 0o600) }), "vfio-pci", use.OpenUnknown, use.ErrNoDevice},
		{"a FIFO", onVFIO(), at(func(p string) error { return unix.Mkfifo(p, 0o600) }), "vfio-pci", use.OpenUnknown, use.ErrNoDevice},
		{"a directory", onVFIO(), at(func(p string) error { return os.Mkdir(p, 0o700) }), "vfio-pci", use.OpenUnknown, unix.EISDIR},
		{"a loop of links", onVFIO(), at(func(p string) error { return os.Symlink("7", p) }), "vfio-pci", use.OpenUnknown, unix.ELOOP},
		{"not on vfio", onVFIO(driver("igbvf")), nothing, "", use.Closed, nil},
		{"on uio, which can be opened by many", onVFIO(driver("uio_pci_generic")), nothing, "", use.Closed, nil},
		{"on no driver", onVFIO(driver("")), nothing, "", use.Closed, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := t.TempDir()
			if err := os.Mkdir(filepath.Join(dev, "vfio"), 0o755); err != nil {
				t.Fatal(err)
			}
			c.dev(t, dev)
			ask := use.VFIO{Dev: dev}
			if c.sys != "" {
				ask.Sys = sysTree(t, c.sys)
			}
			checkAnswer(t, ask.Ask(c.vf), c.want, c.err)
		})
	}
}

func checkAnswer(t *testing.T, got use.Answer, want use.Openness, err error) {
	t.Helper()
	if got.State != want {
		t.Fatalf("%+v, want state %d", got, want)
	}
	if want == use.OpenUnknown && (got.Path == "" || !errors.Is(got.Err, err)) {
		t.Errorf("not known, and the reason is %v of %q; want %v", got.Err, got.Path, err)
	}
	if want != use.OpenUnknown && got.Err != nil {
		t.Errorf("known, with the error %v", got.Err)
	}
}

// Each errno that the kernel can answer, at the boundary. Only EBUSY says open,
// and only success, or a device that vfio has let go of, says closed.
func TestVFIOByErrno(t *testing.T) {
	for _, c := range []struct {
		errno unix.Errno
		sys   string
		want  use.Openness
	}{
		{0, "vfio-pci", use.Closed},
		{unix.EBUSY, "vfio-pci", use.Open},
		{unix.EBUSY, "gone", use.Open},
		{unix.EPERM, "vfio-pci", use.OpenUnknown},
		{unix.EPERM, "gone", use.OpenUnknown},
		{unix.EACCES, "vfio-pci", use.OpenUnknown},
		{unix.EMFILE, "vfio-pci", use.OpenUnknown},
		{unix.ENFILE, "vfio-pci", use.OpenUnknown},
		{unix.ENOMEM, "vfio-pci", use.OpenUnknown},
		{unix.EIO, "vfio-pci", use.OpenUnknown},
		{unix.ENXIO, "vfio-pci", use.OpenUnknown},
		{unix.ENXIO, "unbound", use.OpenUnknown},
		{unix.ENXIO, "igbvf", use.Closed},
		{unix.ENXIO, "gone", use.Closed},
		{unix.ENODEV, "vfio-pci", use.OpenUnknown},
		{unix.ENODEV, "gone", use.Closed},
		{unix.ENOENT, "vfio-pci", use.OpenUnknown},
		{unix.ENOENT, "gone", use.Closed},
	} {
		name := "success"
		if c.errno != 0 {
			name = unix.ErrnoName(c.errno)
		}
		t.Run(name+" "+c.sys, func(t *testing.T) {
			var opened []int
			interrupted := false
			ask := use.VFIO{Dev: "/dev", Sys: sysTree(t, c.sys), OpenFile: func(path string, _ int, _ uint32) (int, error) {
				if path != "/dev/vfio/7" {
					t.Errorf("opens %s", path)
				}
				if !interrupted {
					interrupted = true
					return -1, unix.EINTR
				}
				if c.errno != 0 {
					return -1, c.errno
				}
				fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
				opened = append(opened, fd)
				return fd, err
			}}
			checkAnswer(t, ask.Ask(onVFIO()), c.want, c.errno)
			for _, fd := range opened {
				if err := unix.Fstat(fd, &unix.Stat_t{}); !errors.Is(err, unix.EBADF) {
					t.Errorf("the group is left open (%v)", err)
				}
			}
		})
	}
}

// A VF that cannot be asked about is held, by what stands in the way.
func TestUnaskedVFIOIsHeld(t *testing.T) {
	snap := snapshot("vfio-pci")
	snap.PFs[0].VFs[0].IOMMUGroup = 7
	for name, c := range map[string]struct {
		sys  string
		want string
	}{
		"groups are off": {"cdev", "vfio/devices/vfio3 cannot be asked: no such file or directory"},
		"no sysfs":       {"", "vfio/7 cannot be asked: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			ask := use.VFIO{Dev: t.TempDir()}
			if c.sys != "" {
				ask.Sys = sysTree(t, c.sys)
			}
			open := ask.OpenVFs(snap, []string{vf, "0000:99:00.0"})
			got := use.Judge(use.Evidence{Snapshot: snap, Kubelet: use.Kubelet{Answered: true}, Open: open}).Of(vf)
			if got.State != use.Held || !strings.Contains(use.Names(got.Holders), c.want) {
				t.Errorf("%v: %q, want held and %q", got.State, use.Names(got.Holders), c.want)
			}
			if len(open) != 1 {
				t.Errorf("answers about %v", open)
			}
		})
	}
}

// Before a VF is given out only a process that has it open stands in the way.
func TestTakenIsOpenForCertain(t *testing.T) {
	snap := snapshot("vfio-pci")
	snap.PFs[0].VFs[0].IOMMUGroup = 7
	for errno, taken := range map[unix.Errno]bool{unix.EBUSY: true, unix.EACCES: false, unix.ENOENT: false} {
		ask := use.VFIO{Dev: "/dev", Sys: sysTree(t, "vfio-pci"), OpenFile: func(string, int, uint32) (int, error) { return -1, errno }}
		if got := ask.Taken(snap, []string{vf, "0000:99:00.0"}); (len(got) == 1) != taken {
			t.Errorf("%s: taken %v", unix.ErrnoName(errno), got)
		}
	}
}

// A PF that is bound to vfio-pci can be asked about like a VF, a subfunction has no
// group.
func TestVFIOOfOtherDevices(t *testing.T) {
	s := machine()
	s.PFs[0].Driver, s.PFs[0].IOMMUGroup = "vfio-pci", 7
	got := use.VFIO{Dev: t.TempDir()}.OpenVFs(s, []string{pf, other, sf, "0000:ff:00.0"})
	if a, ok := got[pf]; !ok || a.State != use.OpenUnknown || len(got) != 1 {
		t.Errorf("%v, want that the PF's group cannot be asked, and nothing of others", got)
	}
}

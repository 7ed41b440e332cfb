package kerneltest

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// The requests of include/uapi/linux/vduse.h, by _IOW of type 0x81: a vDPA
// device whose other side is a process, and so the only one that a kernel
// without such a card can make.
const (
	vduseCreate  = 0x41508102 // struct vduse_dev_config, 336 bytes without its config
	vduseDestroy = 0x41008103 // char name[256]
	vduseVQSetup = 0x40208114 // struct vduse_vq_config, 32 bytes
)

// vduse makes a device that the vDPA bus can have, for the duration of the test.
func vduse(t *testing.T, name string) {
	t.Helper()
	if os.Getenv(marker) == "" {
		t.Skipf("needs a kernel with vduse, and %s=1: test/lab/e2e/kernel has both", marker)
	}
	ioctl := func(f *os.File, req uintptr, arg []byte) {
		t.Helper()
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, uintptr(unsafe.Pointer(&arg[0])))
		if errno != 0 {
			t.Fatalf("ioctl %#x on %s: %v", req, f.Name(), errno)
		}
	}
	control, err := os.OpenFile("/dev/vduse/control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	const queues, configSize = 2, 8
	cfg := make([]byte, 336+configSize)
	copy(cfg, name)
	u32 := func(at int, v uint32) { binary.NativeEndian.PutUint32(cfg[at:], v) }
	u32(256, 0x1af4)                                      // vendor
	u32(260, 1)                                           // a network device
	binary.NativeEndian.PutUint64(cfg[264:], 1<<33|1<<32) // VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1
	u32(272, queues)
	u32(276, 4096) // alignment of the queues
	u32(332, configSize)
	ioctl(control, vduseCreate, cfg)
	destroy := make([]byte, 256)
	copy(destroy, name)
	dev, err := os.OpenFile("/dev/vduse/"+name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dev.Close()
		ioctl(control, vduseDestroy, destroy)
	})
	for i := range uint32(queues) {
		vq := make([]byte, 32)
		binary.NativeEndian.PutUint32(vq, i)
		binary.NativeEndian.PutUint16(vq[4:], 256)
		ioctl(dev, vduseVQSetup, vq)
	}
}

// A vDPA device comes, is seen with its driver and goes, by the same requests
// that are made for VFs; what is wrong is an errno.
func TestVDPA(t *testing.T) {
	const name = "kerneltest"
	vduse(t, name)
	h, ctx := nl.Open(), t.Context()
	if err := h.VDPAAdd(ctx, name, "", "vduse"); err != nil {
		t.Fatal(err)
	}
	sys, err := sysfs.Open("/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	devices := func(want ...string) {
		t.Helper()
		got, err := sys.ReadDir(sysfs.VDPADevices)
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" || err != nil {
			t.Errorf("devices: %v (-want +got):\n%s", err, d)
		}
	}
	devices(name)
	driver := func() string {
		l, err := sys.ReadLink(sysfs.Join(sysfs.VDPADevice(name), sysfs.LinkDriver))
		if err != nil {
			return ""
		}
		return sysfs.Base(l)
	}
	if got := driver(); got != "vhost_vdpa" {
		t.Errorf("the device has driver %q", got)
	}
	// What apply does to give a device a driver for good.
	for _, w := range [][2]string{
		{sysfs.VDPADriverOverride(name), "vhost_vdpa"},
		{sysfs.VDPADriverUnbind("vhost_vdpa"), name},
		{sysfs.VDPADriverBind("vhost_vdpa"), name},
	} {
		if err := sys.Write(w[0], w[1]); err != nil {
			t.Errorf("write %q to %s: %v", w[1], w[0], err)
		}
	}
	if got := driver(); got != "vhost_vdpa" {
		t.Errorf("bound again, the device has driver %q", got)
	}

	var e *nl.Error
	if err := h.VDPAAdd(ctx, name, "", "vduse"); !errors.As(err, &e) || e.Errno() != syscall.EEXIST {
		t.Errorf("the same device again: %v", err)
	}
	if err := h.VDPAAdd(ctx, "x", "pci", "0000:00:00.0"); !errors.Is(err, nl.ErrUnsupported) {
		t.Errorf("a device on what offers none: %v", err)
	}
	if err := h.VDPADel(ctx, name); err != nil {
		t.Fatal(err)
	}
	devices()
	if err := h.VDPADel(ctx, name); !errors.As(err, &e) || e.Errno() != syscall.ENODEV {
		t.Errorf("a device that is gone: %v", err)
	}
}

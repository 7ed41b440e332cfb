package artifact

import (
	"strings"
	"testing"
)

func TestClosure(t *testing.T) {
	dep := "kernel/a/igb.ko.xz: kernel/b/i2c-algo-bit.ko.xz kernel/b/dca.ko.xz\n" +
		"kernel/b/i2c-algo-bit.ko.xz:\nkernel/b/dca.ko.xz: kernel/b/base.ko.xz\nkernel/b/base.ko.xz:\n" +
		"kernel/c/vfio-pci.ko.xz: kernel/c/vfio-pci-core.ko.xz\nkernel/c/vfio-pci-core.ko.xz:\n"
	got, err := closure(dep, "kernel/d/virtio_pci.ko\n", []string{"igb", "virtio_pci", "vfio-pci"})
	if err != nil {
		t.Fatal(err)
	}
	want := "kernel/b/base.ko.xz kernel/b/dca.ko.xz kernel/b/i2c-algo-bit.ko.xz kernel/a/igb.ko.xz kernel/c/vfio-pci-core.ko.xz kernel/c/vfio-pci.ko.xz"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
	got, err = closure(dep, "", []string{"kernel/c/"})
	if s := strings.Join(got, " "); err != nil || s != "kernel/c/vfio-pci-core.ko.xz kernel/c/vfio-pci.ko.xz" {
		t.Errorf("a directory: got %s, %v", s, err)
	}
	if _, err := closure(dep, "", []string{"nothing"}); err == nil {
		t.Error("an unknown module was accepted")
	}
}

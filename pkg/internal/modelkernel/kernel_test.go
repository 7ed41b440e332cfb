package modelkernel_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/internal/modelkernel"
	"github.com/talos-sriov/talos-sriov/pkg/inventory"
)

const (
	pf    = "0000:21:00.0"
	attrs = "bus/pci/devices/" + pf + "/"
)

func model(t *testing.T) (*modelkernel.Kernel, func(name, value string, want unix.Errno)) {
	k := modelkernel.New(modelkernel.Standard()...)
	k.AddPF(modelkernel.PF{Address: pf, Vendor: "8086", Device: "10c9", VFDevice: "10ca", Driver: "igb", Total: 7, Name: "enp33s0", MAC: "52:54:00:00:00:01"})
	return k, func(name, value string, want unix.Errno) {
		t.Helper()
		err := k.Write(name, value)
		if want == 0 && err != nil || want != 0 && !errors.Is(err, want) {
			t.Errorf("write %q to %s: %v, want %v", value, name, err, want)
		}
	}
}

// TestLikeTheRealKernel holds the model to what was seen on Linux 6.12 with an
// emulated 82576.
func TestLikeTheRealKernel(t *testing.T) {
	k, w := model(t)
	w(attrs+"sriov_numvfs", "8", unix.ERANGE)
	w(attrs+"sriov_numvfs", "x", unix.EINVAL)
	w(attrs+"sriov_numvfs", "4", 0)
	w(attrs+"sriov_numvfs", "4", 0)
	w(attrs+"sriov_numvfs", "7", unix.EBUSY)
	w(attrs+"sriov_nope", "1", unix.ENOENT)
	vfs := k.Snapshot().PF(pf).VFs
	if vfs[3].Address != "0000:21:10.6" || vfs[3].Driver != "igbvf" || len(vfs[3].Netdevs) != 1 {
		t.Errorf("VF 3: %+v", vfs[3])
	}
	w(attrs+"sriov_numvfs", "0", 0)

	// With autoprobe off a VF binds only where driver_override says so.
	w(attrs+"sriov_drivers_autoprobe", "0", 0)
	w(attrs+"sriov_numvfs", "2", 0)
	w("bus/pci/drivers_probe", "0000:21:10.0", 0)
	w("bus/pci/drivers/igbvf/bind", "0000:21:10.0", unix.ENODEV)
	w("bus/pci/devices/0000:21:10.2/driver_override", "vfio-pci", 0)
	w("bus/pci/drivers_probe", "0000:21:10.2", 0)
	vfs = k.Snapshot().PF(pf).VFs
	if vfs[0].Driver != "" || vfs[1].Driver != "vfio-pci" || len(vfs[1].Netdevs) != 0 {
		t.Errorf("VFs: %+v", vfs)
	}
	w("bus/pci/drivers/vfio-pci/unbind", "0000:21:10.0", unix.ENODEV)
	w("bus/pci/drivers/vfio-pci/unbind", "0000:21:10.2", 0)
}

// TestInventoryReadsTheModel: Snapshot is what inventory.Read sees, field by field.
func TestInventoryReadsTheModel(t *testing.T) {
	k, w := model(t)
	w(attrs+"sriov_numvfs", "3", 0)
	w("bus/pci/drivers/igbvf/unbind", "0000:21:10.2", 0)
	w("bus/pci/devices/0000:21:10.2/driver_override", "vfio-pci", 0)
	w("bus/pci/drivers_probe", "0000:21:10.2", 0)
	k.Hold("0000:21:10.4", "p")
	read, err := inventory.Read(t.Context(), k, k)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(k.Snapshot(), read); d != "" {
		t.Errorf("(-model +read):\n%s", d)
	}
}

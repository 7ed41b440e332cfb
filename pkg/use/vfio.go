package use

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
)

// OpenVFIO says which of the VFs (PCI addresses) a process holds through vfio,
// for Evidence.Open. dev is where device nodes are (/dev).
//
// A vfio group can be opened by one process at a time; the kernel answers any
// other with EBUSY (vfio_group_fops_open in drivers/vfio/group.c). There is no
// passive way to ask, so this opens the group for an instant. A process that
// opens it in that instant is refused, so it is only for VFs that nobody can be
// given any more.
func OpenVFIO(dev string, snap *inventory.Snapshot, vfs []string) map[string]string {
	out := map[string]string{}
	for _, addr := range vfs {
		vf := findVF(snap, addr)
		if vf == nil || vf.IOMMUGroup < 0 || !WithoutNetdev(vf.Driver) {
			continue
		}
		name := strconv.Itoa(vf.IOMMUGroup)
		if vf.NoIOMMU {
			name = "noiommu-" + name
		}
		path := filepath.Join(dev, "vfio", name)
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			_ = unix.Close(fd)
		case errors.Is(err, unix.EBUSY):
			out[addr] = fmt.Sprintf("%s is open", path)
		}
	}
	return out
}

func findVF(snap *inventory.Snapshot, addr string) *inventory.VF {
	for i := range snap.PFs {
		for j := range snap.PFs[i].VFs {
			if vf := &snap.PFs[i].VFs[j]; vf.Address == addr {
				return vf
			}
		}
	}
	return nil
}

package use

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/inventory"
	"github.com/talos-sriov/talos-sriov/pkg/nic"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Openness is whether a process has a device open.
type Openness int

const (
	// OpenUnknown is the zero value, and counts as open.
	OpenUnknown Openness = iota
	Open
	Closed
)

// Answer is what the kernel answered about one device.
type Answer struct {
	State Openness
	// Path is the device node that was asked, "" when none had to be.
	Path string
	// Err is why the state is not known; nil otherwise.
	Err error
}

// String is the evidence as text.
func (a Answer) String() string {
	if a.State == OpenUnknown {
		return fmt.Sprintf("%s cannot be asked: %v", a.Path, a.Err)
	}
	return fmt.Sprintf("%s is %s", a.Path, map[Openness]string{Open: "open", Closed: "not open"}[a.State])
}

// Reasons for OpenUnknown beside the kernel's errno.
var (
	// ErrNoGroup: the kernel has the device on a vfio driver and no group node
	// for it.
	ErrNoGroup = errors.New("the device has no vfio group here: the kernel was built without them (CONFIG_VFIO_GROUP), or this is not the host's /dev")
	// ErrNoDevice: what was opened is no device node.
	ErrNoDevice = errors.New("it is no character device: this is not the host's /dev")
)

// VFIO asks the kernel which devices processes have open through vfio.
type VFIO struct {
	// Dev is where device nodes are (/dev).
	Dev string
	// Sys is sysfs. Without it a device whose node is gone is not known to be
	// gone itself.
	Sys sysfs.Tree
	// OpenFile is open(2), nil for the system's.
	OpenFile func(path string, flags int, perm uint32) (fd int, err error)
}

// Ask returns whether a process has the VF open.
//
// A vfio group can be opened by one process at a time, and not while one of its
// devices is bound to an iommufd through /dev/vfio/devices; the kernel answers
// any other with EBUSY (vfio_group_fops_open in drivers/vfio/group.c). So this
// opens the group for an instant. A process that opens it in that instant is
// refused: ask only about VFs that nobody can be given meanwhile.
//
// Where the kernel has no groups the answer is not known: the nodes of
// /dev/vfio/devices can be opened by any number of processes
// (vfio_device_fops_cdev_open in drivers/vfio/device_cdev.c), so that being able
// to open one proves nothing.
//
// A VF on no vfio driver is not open through vfio.
func (v VFIO) Ask(vf *inventory.VF) Answer { return v.ask(&vf.Function) }

func (v VFIO) ask(vf *inventory.Function) Answer {
	if !nic.VFIO(vf.Driver) {
		return Answer{State: Closed}
	}
	if vf.IOMMUGroup < 0 {
		return v.withoutNode(vf, filepath.Join(v.Dev, "vfio/devices"), ErrNoGroup)
	}
	name := strconv.Itoa(vf.IOMMUGroup)
	if vf.NoIOMMU {
		name = "noiommu-" + name
	}
	path := filepath.Join(v.Dev, "vfio", name)
	err := v.try(path)
	switch {
	case err == nil:
		return Answer{State: Closed, Path: path}
	case errors.Is(err, unix.EBUSY):
		return Answer{State: Open, Path: path}
	case errors.Is(err, unix.ENOENT):
		return v.withoutNode(vf, path, fmt.Errorf("%w: %w", unix.ENOENT, ErrNoGroup))
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		// The node is there and nothing behind it: the device is just leaving
		// its driver, or the node is a leftover.
		return v.withoutNode(vf, path, err)
	}
	// EPERM (a no-IOMMU group without CAP_SYS_RAWIO), EACCES (SELinux, the
	// node's mode), EMFILE, ...: nobody has answered.
	return Answer{Path: path, Err: err}
}

// OpenVFs asks about VFs by PCI address and returns those that are open or not
// known to be closed, for Evidence.Open. It answers for a PF on vfio-pci just the same.
// Addresses that the snapshot does not have are left out: Judge does not call them
// free either.
func (v VFIO) OpenVFs(snap *inventory.Snapshot, vfs []string) map[string]Answer {
	out := map[string]Answer{}
	for _, addr := range vfs {
		d, ok := snap.Device(addr)
		if !ok || d.Function == nil {
			continue
		}
		if a := v.ask(d.Function); a.State != Closed {
			out[addr] = a
		}
	}
	return out
}

// Taken returns which of the VFs (PCI addresses) a process has open, for Allocate:
// the kubelet forgets a force-deleted pod at once, also while its virtual machine
// still runs, and gives the VF to another pod, whose program could not open it.
// Only a clear answer counts. What cannot be asked is left out: the kubelet's own
// books have the VF as free, and to refuse would refuse every pod on a node whose
// groups cannot be asked. Call it before the allocation is noted.
func (v VFIO) Taken(snap *inventory.Snapshot, vfs []string) map[string]Answer {
	out := v.OpenVFs(snap, vfs)
	maps.DeleteFunc(out, func(_ string, a Answer) bool { return a.State != Open })
	return out
}

// try opens the node for an instant.
func (v VFIO) try(path string) error {
	open := v.OpenFile
	if open == nil {
		open = unix.Open
	}
	fd, err := open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	for errors.Is(err, unix.EINTR) {
		fd, err = open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Close(fd)); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return ErrNoDevice
	}
	return nil
}

// withoutNode judges a VF whose group could not be reached. It is closed only
// when sysfs shows that vfio has let the device go: it is not there any more, or
// has another driver. No driver at all is no such proof, because the kernel
// takes the link away before it waits for the process that has the device open
// (__device_release_driver in drivers/base/dd.c).
func (v VFIO) withoutNode(vf *inventory.Function, path string, why error) Answer {
	unknown := Answer{Path: path, Err: why}
	if v.Sys == nil {
		return unknown
	}
	if _, err := v.Sys.ReadLink(sysfs.Device(vf.Address)); sysfs.IsAbsent(err) {
		return Answer{State: Closed, Path: path}
	}
	link, err := v.Sys.ReadLink(sysfs.Driver(vf.Address))
	if err == nil && !nic.VFIO(sysfs.Base(link)) {
		return Answer{State: Closed, Path: path}
	}
	if names, err := v.Sys.ReadDir(sysfs.DeviceAttr(vf.Address, sysfs.DirVFIODev)); err == nil && len(names) > 0 {
		unknown.Path = filepath.Join(v.Dev, "vfio/devices", names[0])
	}
	return unknown
}

package apply

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/op"
	"github.com/talos-sriov/talos-sriov/pkg/plan"
)

// StepError says which step failed on which PF, what was written where, what
// the kernel answered in clear text, and what to do. It unwraps to the kernel's
// errno.
type StepError struct {
	PF, Name string // address and interface name
	Step     plan.Step
	Meaning  string // of the errno here
	Remedy   string // what to do about it, "" when nothing is known
	Err      error
}

func (e *StepError) Error() string {
	o, who := e.Step.Op, e.PF
	if e.Name != e.PF && e.Name != "" {
		who = fmt.Sprintf("%s (%s)", e.Name, e.PF)
	}
	s := fmt.Sprintf("%s: %s of %q to %s: %s", who, o.Kind(), op.Text(o.Want()), o.Object(), e.Meaning)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *StepError) Unwrap() error { return e.Err }

// StuckError says that the kernel has not answered a write. Nothing is written
// to the PF until it does.
type StuckError struct {
	PF    string
	Step  plan.Step
	After time.Duration // how long it has been
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("the kernel has not answered for %s", e.After.Round(time.Second))
}

// explain puts an error of a step into clear text. The meanings are those of the paths that
// sysfs and netlink take here: sriov_numvfs_store and sriov_enable
// (drivers/pci/iov.c), the drivers' sriov_configure, rtnl_setlink's VF part.
func explain(s *plan.Step, err error) (meaning, remedy string) {
	n, numVFs := s.Op.(op.SetNumVFs)
	if _, stuck := errors.AsType[*StuckError](err); stuck {
		remedy = "nothing more is written to this PF until it does; the plan goes on by itself then"
		if numVFs && n.N == 0 {
			remedy = "the kernel waits for a process that holds a VF's vfio device: end it; " + remedy
		}
		return err.Error(), remedy
	}
	if errors.Is(err, ErrNotBound) {
		return err.Error(), "see the kernel log of " + op.Text(s.Op.Want()) + "; vfio-pci needs an IOMMU group: VT-d or AMD-Vi on in the firmware and intel_iommu=on on the kernel's command line"
	}
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		return err.Error(), ""
	}
	switch errno {
	case unix.ENOENT:
		return absent(s.Op)
	case unix.EBUSY:
		if numVFs {
			return "EBUSY: VFs exist already, and the kernel changes their number only through 0",
				"somebody else made VFs meanwhile; planned again from what is there now"
		}
		return "EBUSY: the device is in use", "planned again when it is free"
	case unix.ERANGE:
		return "ERANGE: more VFs than the PF or its driver can have", "lower numVFs; `sriovctl discover` shows the most that is possible"
	case unix.ENOSPC:
		return "ENOSPC: no PCI bus numbers are left for the VFs",
			"boot with the kernel argument pci=realloc (or pci=assign-busses), or give the slot more bus numbers in the firmware"
	case unix.ENOMEM:
		return "ENOMEM: no PCI memory window is left for the VFs' BARs, or the card's firmware is out of resources",
			"boot with the kernel argument pci=realloc, enable \"above 4G decoding\" in the firmware, or ask for fewer VFs"
	case unix.EIO:
		return "EIO: the device or its firmware failed the request", "see the kernel log of the PF's driver; a reset or newer firmware of the card may be needed"
	case unix.EPERM, unix.EACCES:
		return errnoName(errno) + ": the kernel does not allow it",
			"the service needs writeableSysfs and CAP_NET_ADMIN; kernel lockdown and SELinux enforcing refuse it too"
	case unix.EROFS:
		return "EROFS: /sys is mounted read-only", "the service spec needs security.writeableSysfs: true"
	case unix.ENODEV, unix.ENXIO:
		return errnoName(errno) + ": the device is going away, or has no driver", "taken up again when it is back"
	case unix.EOPNOTSUPP, unix.EPROTONOSUPPORT:
		return errnoName(errno) + ": the driver does not support this", "take the key out of the config, or list it under `optional`"
	case unix.EAGAIN:
		return "EAGAIN: the device is not ready for it yet", "tried again by itself"
	case unix.EINVAL:
		return "EINVAL: the driver does not accept this value", "see the kernel log of the PF's driver for its reason"
	case unix.ETIMEDOUT:
		return "ETIMEDOUT: the device did not answer its driver", "see the kernel log of the PF's driver; a reset of the card may be needed"
	}
	return errnoName(errno) + ": " + errno.Error(), ""
}

// absent explains ENOENT.
func absent(o op.Op) (meaning, remedy string) {
	switch o.(type) {
	case op.AddVDPA, op.BindVDPA:
		return "ENOENT: the kernel has no vDPA, or no such vDPA driver",
			"add the modules vdpa, vhost_vdpa or virtio_vdpa, and the card's own (mlx5_vdpa), to the machine config (kernel.modules)"
	case op.SetNumVFs, op.SetAutoProbe:
		return "ENOENT: the PF is gone, or its driver cannot make VFs", "check that the PF's driver is bound and has SR-IOV support"
	}
	return "ENOENT: the device is gone", "taken up again when it is back"
}

func errnoName(e unix.Errno) string {
	if e == unix.EOPNOTSUPP {
		return "EOPNOTSUPP" // one number with ENOTSUP, and what the kernel calls it
	}
	if n := unix.ErrnoName(e); n != "" {
		return n
	}
	return fmt.Sprintf("errno %d", int(e))
}

// noEffect is the answer of a driver that bound a VF and did not bring what it was
// bound for.
const noEffect = "without effect"

// refusal reports whether the error is the driver's answer on an attribute of a
// VF, which stays its answer until something changes. EINVAL for a rate may be
// about a port without a link, which has no speed to compare it with (igb).
func refusal(s *plan.Step, err error) (answer string, volatile, refused bool) {
	if s.Key == "" {
		return "", false, false
	}
	if errors.Is(err, errNotTaken) {
		return noEffect, false, true
	}
	for _, e := range []unix.Errno{unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EINVAL} {
		if errors.Is(err, e) {
			_, rate := s.Op.(op.SetVFRate)
			return errnoName(e), e == unix.EINVAL && rate, true
		}
	}
	return "", false, false
}

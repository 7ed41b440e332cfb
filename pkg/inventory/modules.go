package inventory

import (
	"slices"

	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// vfioType1 finds the module vfio_iommu_type1. A loaded module has a directory
// in /sys/module, and so has a built-in one that takes parameters, as this one
// does (kernel/params.c; drivers/vfio/vfio_iommu_type1.c has
// allow_unsafe_interrupts among others). So a complete list without it is
// evidence that it is absent; a list that could not be read is none.
func (r *reader) vfioType1() Presence {
	names, err := r.tree.ReadDir(sysfs.Modules)
	switch {
	case sysfs.IsAbsent(err):
		return PresenceUnknown // no such list: a partial tree
	case err != nil:
		r.note(sysfs.Modules, "list", err)
		return PresenceUnknown
	case slices.Contains(names, sysfs.ModuleVFIOType1):
		return Present
	}
	return Absent
}

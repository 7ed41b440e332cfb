package apply

import (
	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

var (
	_ Sysfs = (*sysfs.FS)(nil)
	_ Links = (*nl.Handle)(nil)
	_ Links = NoLinks{}
)

package pool

import "slices"

// Assignment is every pool of a node. It is not changed after it was handed to
// anybody; Withhold returns a copy.
type Assignment struct {
	// Pools has one element for each resource name of the config, in the
	// order in which the config names them first. A pool without devices is
	// kept: it is offered to the kubelet as 0, so that a pod that asks for it
	// hears "insufficient" and not "unknown resource".
	Pools []Pool
}

// Pool is the devices behind one resource name.
type Pool struct {
	// Resource is the full name, prefix/name (nvidia.com/cx7_qsfp).
	Resource string
	// Devices are sorted by PF address, VF index and ID.
	Devices []Device
	// Policy is how devices are preferred; "" means Packed.
	Policy Policy
	// CDI: containers get their device nodes through CDI and not through the
	// kubelet.
	CDI bool
	// Notices are worth knowing and not wrong: devices that another pool has.
	Notices []string
}

// Policy is how GetPreferredAllocation chooses among devices of one NUMA node.
type Policy string

const (
	Packed Policy = "packed" // from as few PFs as possible
	Spread Policy = "spread" // from as many PFs as possible
)

// Kind is what a device is, in the terms of the CDI names of the SR-IOV network
// device plugin.
type Kind string

const (
	KindNet         Kind = "net-pci"
	KindAccelerator Kind = "net-accel"
	KindSF          Kind = "net-sf"
)

// Device is one unit of a resource.
type Device struct {
	// ID is what the kubelet and the pod know the device by: its PCI address,
	// or its name on the auxiliary bus.
	ID   string
	Kind Kind
	// PF is the address of the parent, PFName its interface name (its address
	// when it has none).
	PF     string
	PFName string
	// Index is the VF index, the number of an SF, -1 for what is neither.
	Index    int
	NUMANode int // -1 when unknown
	Driver   string
	// NoTopology keeps the NUMA node from the kubelet.
	NoTopology bool
	// Healthy devices can be allocated. Reason says why one cannot.
	Healthy bool
	Reason  Reason
	// Info is what the container gets to know of the device, by provider and key
	// (the _INFO environment variable).
	Info map[string]map[string]string
	// Nodes are the device nodes that the container gets.
	Nodes []Node
	// DeviceInfo is the content of the device-info file, nil for none.
	DeviceInfo *DeviceInfo
}

// Node is a device node in a container.
type Node struct {
	HostPath      string
	ContainerPath string
	Permissions   string // of "rwm"
}

// Pool returns the pool of the resource, or nil.
func (a *Assignment) Pool(resource string) *Pool {
	if a == nil {
		return nil
	}
	for i := range a.Pools {
		if a.Pools[i].Resource == resource {
			return &a.Pools[i]
		}
	}
	return nil
}

// Members are the IDs of the devices that any pool has.
func (a *Assignment) Members() map[string]bool {
	out := map[string]bool{}
	if a == nil {
		return out
	}
	for i := range a.Pools {
		for j := range a.Pools[i].Devices {
			out[a.Pools[i].Devices[j].ID] = true
		}
	}
	return out
}

// Withhold returns the assignment with the devices in reasons (by ID)
// unhealthy. A device that was unhealthy already keeps its own reason, which is
// nearer to the cause. Neither argument is changed.
func (a *Assignment) Withhold(reasons map[string]Reason) *Assignment {
	if a == nil || len(reasons) == 0 {
		return a
	}
	out := &Assignment{Pools: slices.Clone(a.Pools)}
	for i := range out.Pools {
		p := &out.Pools[i]
		p.Devices = slices.Clone(p.Devices)
		for j := range p.Devices {
			d := &p.Devices[j]
			if r, ok := reasons[d.ID]; ok && d.Healthy {
				d.Healthy, d.Reason = false, r
			}
		}
	}
	return out
}

// Healthy counts the devices that can be allocated.
func (p *Pool) Healthy() int {
	n := 0
	for i := range p.Devices {
		if p.Devices[i].Healthy {
			n++
		}
	}
	return n
}

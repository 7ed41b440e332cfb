package modelkernel

import (
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
	"github.com/talos-sriov/talos-sriov/pkg/sysfs"
)

// Kernel is the model. Its methods are safe for concurrent use.
type Kernel struct {
	mu      sync.Mutex
	root    *node
	devices map[string]*device // by PCI address
	drivers map[string]*Driver
	nextIf  int
	nextGrp int

	host        hostNet
	vdpaDrivers map[string]bool // loaded
	nextRDMA    int

	fault    func(name, value string) Fault
	onChange func()
	async    bool
	netdevs  sync.WaitGroup

	writes     []string
	violations []string
}

// Driver is a PCI driver.
type Driver struct {
	Name string
	// IDs are the vendor:device pairs that it binds by itself.
	IDs []string
	// Netdev says that a function bound to it has a netdev.
	Netdev bool
	// RDMA says that a function bound to it has an RDMA device.
	RDMA bool
	// Reject makes its probe fail, which drivers_probe does not report.
	Reject bool
	// DeafMAC says that it does not take the address that the PF gives.
	DeafMAC bool
	// Loaded reports whether its module is there.
	Loaded bool
}

// PF describes a physical function to add.
type PF struct {
	Address        string
	Vendor, Device string // 4 hex digits
	VFDevice       string
	Class          string // 6 hex digits; "" is 020000
	Driver         string // "" leaves it unbound
	Total          int
	Name           string // of the netdev
	MAC            string
	NUMA           int
	Offset, Stride int // first VF offset and stride; 0: 128 and 2
	// Down leaves the interface administratively down.
	Down bool
	// Eswitch gives the PF a devlink eswitch, in legacy mode.
	Eswitch bool
	// Refuse are the attributes of VFs (as `ip link` calls them) that the driver
	// refuses, beside what drivers that the model knows refuse.
	Refuse map[string]unix.Errno
	// AltNames, SwitchID and PortName are of the netdev.
	AltNames           []string
	SwitchID, PortName string
	// DDP is the name of the loaded DDP package, which ice reports.
	DDP string
	// Mute are the settings that the driver does not report (trust, spoofCheck).
	Mute []string
}

// Fault is what a write must do instead of, or beside, what it does.
type Fault struct {
	// Errno makes the write fail. With After it has its effect anyway.
	Errno unix.Errno
	After bool
	// Until blocks the write before its effect until the channel is closed.
	Until <-chan struct{}
}

type device struct {
	// lock is the kernel's device_lock. It is taken before Kernel.mu, and a PF's before
	// its VFs'.
	lock sync.Mutex

	addr, path string
	pf         *device // of a VF
	index      int
	spec       PF // of a PF
	vendor, id string
	class      string
	driver     string
	override   string
	group      int
	numa       int

	// PF
	vfs       []*device
	autoprobe bool

	eswitch   string
	tcOffload bool
	steering  string
	unplugged bool

	// VF
	admin admin
	vdpa  *vdpa
	rdma  string

	// netdev
	ifname string
	ifidx  int
	mac    string
	mtu    int
	up     bool

	holder   string        // who holds the VF
	released chan struct{} // closed when an open vfio device is let go
}

// New returns a kernel with the drivers that tests want loaded.
func New(drivers ...Driver) *Kernel {
	k := &Kernel{
		root:    &node{dir: map[string]*node{}},
		devices: map[string]*device{}, drivers: map[string]*Driver{},
		nextIf: 2, nextGrp: 10,
		host: hostNet{
			virtual: map[string]nl.Link{}, masters: map[string]string{}, addrs: map[string][]netip.Prefix{}, modes: nl.RDMAShared,
		},
	}
	for _, d := range []string{"bus/pci/devices", "bus/pci/drivers", "class/net", "kernel/iommu_groups", "module/vfio_iommu_type1"} {
		k.mkdir(d)
	}
	for _, d := range drivers {
		k.drivers[d.Name] = &d
		if d.Loaded {
			k.driverDir(d.Name)
		}
	}
	return k
}

// Standard are the drivers of the usual tests.
func Standard() []Driver {
	return []Driver{
		{Name: "igb", IDs: []string{"8086:10c9"}, Netdev: true, Loaded: true},
		{Name: "igbvf", IDs: []string{"8086:10ca"}, Netdev: true, Loaded: true},
		{Name: "mlx5_core", IDs: []string{"15b3:1021", "15b3:101e"}, Netdev: true, RDMA: true, Loaded: true},
		{Name: "ice", IDs: []string{"8086:159b"}, Netdev: true, Loaded: true},
		{Name: "iavf", IDs: []string{"8086:1889"}, Netdev: true, Loaded: true},
		{Name: "ixgbe", IDs: []string{"8086:10fb"}, Netdev: true, Loaded: true},
		{Name: "ixgbevf", IDs: []string{"8086:10ed"}, Netdev: true, Loaded: true},
		{Name: "vfio-pci", Loaded: true},
	}
}

func (k *Kernel) driverDir(name string) { k.mkdir(sysfs.DriverDir(name)) }

// OnChange sets what is called after each change that the real kernel sends an
// event for. It is called without locks held.
func (k *Kernel) OnChange(f func()) { k.mu.Lock(); k.onChange = f; k.mu.Unlock() }

// Async makes netdevs appear some time after their driver has bound.
func (k *Kernel) Async(on bool) { k.mu.Lock(); k.async = on; k.mu.Unlock() }

// Settle waits for netdevs that are still to appear.
func (k *Kernel) Settle() { k.netdevs.Wait() }

// Faults sets the function that is asked before each write.
func (k *Kernel) Faults(f func(name, value string) Fault) { k.mu.Lock(); k.fault = f; k.mu.Unlock() }

// Writes returns all writes so far, as "name=value".
func (k *Kernel) Writes() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.writes...)
}

// Violations returns what happened to VFs while they were held.
func (k *Kernel) Violations() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.violations...)
}

// AddPF plugs a PF in.
func (k *Kernel) AddPF(p PF) {
	if p.Class == "" {
		p.Class = "020000"
	}
	if p.Offset == 0 {
		p.Offset, p.Stride = 128, 2
	}
	k.mu.Lock()
	d := &device{
		addr: p.Address, path: "devices/pci0000:00/" + p.Address, spec: p,
		vendor: p.Vendor, id: p.Device, class: p.Class, group: k.group(), numa: p.NUMA,
		autoprobe: true, mac: p.MAC, mtu: 1500, up: !p.Down, steering: "dmfs",
	}
	if p.Eswitch {
		d.eswitch = "legacy"
	}
	k.addDevice(d)
	k.constant(d.path+"/"+sysfs.AttrTotalVFs, fmt.Sprint(p.Total))
	k.constant(d.path+"/"+sysfs.AttrVFDevice, p.VFDevice)
	k.file(d.path+"/"+sysfs.AttrNumVFs, func() string { return fmt.Sprintf("%d\n", len(d.vfs)) })
	k.file(d.path+"/"+sysfs.AttrDriversAutoprobe, func() string {
		if d.autoprobe {
			return "1\n"
		}
		return "0\n"
	})
	if p.Driver != "" {
		k.bind(d, p.Driver, p.Name, true)
	}
	k.mu.Unlock()
	k.changed()
}

// RemovePF pulls a PF, with its VFs, out of the bus, whoever holds them.
func (k *Kernel) RemovePF(addr string) {
	k.mu.Lock()
	d := k.devices[addr]
	for _, vf := range d.vfs {
		k.removeDevice(vf)
	}
	k.removeDevice(d)
	k.mu.Unlock()
	k.changed()
}

// Load loads a driver's module, which then binds what matches.
func (k *Kernel) Load(name string) {
	k.mu.Lock()
	k.drivers[name].Loaded = true
	k.driverDir(name)
	for _, d := range k.devices {
		k.probe(d)
	}
	k.mu.Unlock()
	k.changed()
}

// Hold gives a VF to a pod: its netdev leaves the host's network namespace, its
// vfio device is open. One that is not there is a violation.
func (k *Kernel) Hold(addr, pod string) {
	k.mu.Lock()
	if d := k.devices[addr]; d != nil {
		d.holder = pod
		if d.driver == "vfio-pci" {
			d.released = make(chan struct{})
		}
		if d.ifname != "" {
			k.hideNetdev(d)
		}
	} else {
		k.violations = append(k.violations, fmt.Sprintf("%s is not there, and %s was given it", addr, pod))
	}
	k.mu.Unlock()
	k.changed()
}

// Release takes a VF back from its pod.
func (k *Kernel) Release(addr string) {
	k.mu.Lock()
	if d := k.devices[addr]; d != nil {
		d.holder = ""
		if d.released != nil {
			close(d.released)
			d.released = nil
		}
		if d.ifname != "" {
			k.showNetdev(d)
		}
	}
	k.mu.Unlock()
	k.changed()
}

func (k *Kernel) changed() {
	k.mu.Lock()
	f := k.onChange
	k.mu.Unlock()
	if f != nil {
		f()
	}
}

func (k *Kernel) group() int { k.nextGrp++; return k.nextGrp }

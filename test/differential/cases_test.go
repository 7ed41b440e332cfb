package differential

// diffCase is one configuration on one machine.
type diffCase struct {
	name, machine string
	config        string // as the other program takes it
	cdi, watcher  bool
	life          bool        // also end the program and start it again
	odd           bool        // also ask for devices that there are none of
	devices       int         // in all resources, here; -1: not counted
	differs       []allowance // each must be needed
}

func caseNamed(name string) *diffCase {
	for i := range cases {
		if cases[i].name == name {
			return &cases[i]
		}
	}
	panic("no case " + name)
}

// one is a configuration with one resource, intel.com/dev; rest is what follows
// its name.
func one(rest string) string {
	return `{"resourceList": [{"resourceName": "dev", ` + rest + `}]}`
}

// sel is one with a selector object.
func sel(selectors string) string { return one(`"selectors": {` + selectors + `}`) }

// accel and aux are sel for the other device types.
func accel(selectors string) string {
	return one(`"deviceType": "accelerator", "selectors": {` + selectors + `}`)
}

func aux(selectors string) string {
	return one(`"deviceType": "auxNetDevice", "selectors": {` + selectors + `}`)
}

// always are the differences that any case may have.
var always = []allowance{
	{"device-info content", `devinfo/.*/(pci|vdpa)/(pf-pci-address|representor-device|vhost-net)`, "-", ""},
	{"`Register` options", `resource/.*/options`, "none", "preStart=false preferred=true"},
	{"preferred allocation", `resource/.*/preferred`, "false", "true"},
	{"no device at all", `resource/[^/]+/[^/]+`, "-", "0 devices"},
}

// unbound explains devices without a driver at the given addresses.
func unbound(addrs string) allowance {
	return allowance{"no driver bound", `resource/.*/device/(` + addrs + `)`, "-", ""}
}

// nothing explains a request that names no container.
var nothing = allowance{"Allocate that names no container", `.*/allocate/nothing`, "0 containers", "refused"}

// twice explains a request for one device twice.
var twice = allowance{"Allocate that names a device twice", `.*/allocate/twice(/.*)?`, "", "refused|-"}

// only explains devices that match here alone.
func only(row, addrs string) allowance {
	return allowance{row, `resource/.*/device/(` + addrs + `)`, "-", ""}
}

// genericUIO explains what a VF on uio_pci_generic gets here and not there.
var genericUIO = allowance{"`uio_pci_generic`, vendor variants of vfio-pci", `.*/(info/0000:3b:01\.6/uio(/mount)?|node/dev/uio1|node//dev/uio1)`, "-", ""}

// variant is the same for a vendor's variant of vfio-pci.
var variant = allowance{genericUIO.row, `.*/(info/0000:01:01\.2/vfio(/.*)?|node//dev/vfio/(7|vfio))`, "-", ""}

// firstUIO explains the mount of igb_uio in the first answer of the other
// program.
func firstUIO(addr string) allowance {
	return allowance{"`mount` of uio and vdpa in `_INFO`", `resource/.*/allocate/` + addr + `/0/info/` + addr + `/uio/mount`, "-", "/dev/uio.*"}
}

// refusedHere explains a configuration that is an error here.
func refusedHere(row string) allowance { return allowance{row, "refused", "-", "yes"} }

// cdi explains what CDI mode always differs in.
var cdiRows = []allowance{
	{"CDI files", `cdifile/.*`, "", ""},
	{"CDI annotation", `resource/.*/annotation/.*`, "", ""},
	{"CDI annotation", `resource/.*/cdi/.*`, "-", "given"},
}

var cases = slicesOf(netCases, driverCases, rdmaCases, otherCases, poolCases, machineCases, badCases)

func slicesOf(groups ...[]diffCase) []diffCase {
	var out []diffCase
	for _, g := range groups {
		out = append(out, g...)
	}
	return out
}

var netCases = []diffCase{
	{name: "everything", machine: "server", config: sel(``), devices: 22, odd: true, differs: []allowance{
		nothing, twice,
		unbound(`0000:b0:00\.1|0000:3b:01\.7`), genericUIO, firstUIO(`0000:3b:01\.5`),
	}},
	{name: "vendor", machine: "server", config: sel(`"vendors": ["15b3"]`), devices: 6},
	{name: "two vendors", machine: "server", config: sel(`"vendors": ["15b3", "14e4"], "drivers": ["tg3", "mlx5_core"]`), devices: 7},
	{name: "vendor that is not there", machine: "server", config: sel(`"vendors": ["dead"]`)},
	{name: "device", machine: "server", config: sel(`"vendors": ["8086"], "devices": ["1889"], "drivers": ["iavf"]`), devices: 7},
	{name: "device of another vendor", machine: "server", config: sel(`"vendors": ["15b3"], "devices": ["1889"]`)},
	{name: "two devices", machine: "server", config: sel(`"devices": ["101e", "101c"]`), devices: 6},
	{name: "upper case id", machine: "server", config: sel(`"devices": ["101E"]`), devices: 4, differs: []allowance{
		{"PCI ids and addresses in upper case", `resource/intel.com/dev`, "-", "4 devices"},
	}},
	{name: "upper and lower case id", machine: "server", config: sel(`"devices": ["101E", "101c"]`), devices: 6, differs: []allowance{
		only("PCI ids and addresses in upper case", `0000:5e:01\.[0-3]`),
	}},
	{name: "PF without VFs", machine: "server", config: sel(`"devices": ["1572"]`), devices: 2},
	{name: "PF without VFs by name of its interface", machine: "server", config: sel(`"pfNames": ["eno1"]`)},
	{name: "PF with VFs", machine: "server", config: sel(`"devices": ["1592"]`)},
	{name: "NIC without SR-IOV and NUMA node", machine: "server", config: sel(`"drivers": ["tg3"]`), devices: 1},
	{name: "address", machine: "server", config: sel(`"pciAddresses": ["0000:3b:01.1"]`), devices: 1, odd: true, differs: []allowance{nothing, twice}},
	{name: "two addresses", machine: "server", config: sel(`"pciAddresses": ["0000:3b:01.1", "0000:5e:01.2"]`), devices: 2},
	{name: "address of a PF with VFs", machine: "server", config: sel(`"pciAddresses": ["0000:3b:00.0"]`)},
	{name: "address of another class", machine: "server", config: sel(`"pciAddresses": ["0000:e0:00.0"]`)},
	{name: "ACPI index", machine: "server", config: sel(`"acpiIndexes": ["3"]`), devices: 1},
	{name: "ACPI index of a PF with VFs", machine: "server", config: sel(`"acpiIndexes": ["1", "2"]`)},
	{name: "PF name", machine: "server", config: sel(`"pfNames": ["ens2f1"]`), devices: 4},
	{name: "PF name in other case", machine: "server", config: sel(`"pfNames": ["ENS2F1"]`), devices: 4},
	{name: "PF name with one VF", machine: "server", config: sel(`"pfNames": ["ens1f0#1"]`), devices: 1},
	{name: "PF name with a range", machine: "server", config: sel(`"pfNames": ["ens1f0#0-2"]`), devices: 3},
	{name: "PF name with ranges and single VFs", machine: "server", config: sel(`"pfNames": ["ens1f0#0,3-4,6"]`), devices: 4, differs: []allowance{genericUIO}},
	{name: "PF names with and without ranges", machine: "server", config: sel(`"pfNames": ["ens1f0#1", "ens2f1#0,2-3", "enp94s0f0np0"]`), devices: 8},
	{name: "range beyond the VFs", machine: "server", config: sel(`"pfNames": ["ens2f1#2-63"]`), devices: 2},
	{name: "PF name that is not there", machine: "server", config: sel(`"pfNames": ["eth17#0-3"]`)},
	{name: "PF name twice", machine: "server", config: sel(`"pfNames": ["ens2f1#0", "ens2f1#3"]`), devices: 2, differs: []allowance{
		only("several entries of one PF in `pfNames` or `rootDevices`", `0000:3c:01\.3`),
	}},
	{name: "root device", machine: "server", config: sel(`"rootDevices": ["0000:3c:00.0"]`), devices: 4},
	{name: "root device with ranges", machine: "server", config: sel(`"rootDevices": ["0000:3b:00.0#0-2,5"]`), devices: 4, differs: []allowance{firstUIO(`0000:3b:01\.5`)}},
	{name: "root devices", machine: "server", config: sel(`"rootDevices": ["0000:3c:00.0#1", "0000:86:00.0"]`), devices: 3},
	{name: "root device that is the device", machine: "server", config: sel(`"rootDevices": ["0000:af:00.0"]`)},
	{name: "link type ether", machine: "server", config: sel(`"linkTypes": ["ether"], "vendors": ["15b3"]`), devices: 4},
	{name: "link type infiniband", machine: "server", config: sel(`"linkTypes": ["infiniband"]`), devices: 2},
	{name: "two link types", machine: "server", config: sel(`"linkTypes": ["infiniband", "ether"], "vendors": ["15b3"]`), devices: 6},
	{name: "link type of a VF in a pod", machine: "server", config: sel(`"linkTypes": ["ether"], "pfNames": ["ens2f1"]`), devices: 4},
	{name: "link type of userspace drivers", machine: "server", config: sel(`"linkTypes": ["ether"], "pfNames": ["ens1f0#0-4"]`), devices: 5},
	{name: "PF name and driver", machine: "server", config: sel(`"pfNames": ["ens1f0"], "drivers": ["iavf"]`), devices: 3},
	{name: "keys in other case", machine: "server", config: `{"resourceList": [{"ResourceName": "dev", "Selectors": {"PfNames": ["ens2f1"], "Vendors": ["8086"]}}]}`, devices: 4},
	{name: "DDP profile", machine: "server", config: sel(`"ddpProfiles": ["GTPv1-C/U IPv4/IPv6 payload"]`)},
}

var driverCases = []diffCase{
	{name: "kernel driver", machine: "server", config: sel(`"drivers": ["iavf"]`), devices: 7},
	{name: "vfio", machine: "server", config: sel(`"drivers": ["vfio-pci"], "pfNames": ["ens1f0"]`), devices: 2},
	{name: "vfio on a PF", machine: "server", config: sel(`"pciAddresses": ["0000:af:00.1"]`), devices: 1},
	{name: "igb_uio", machine: "server", config: sel(`"drivers": ["igb_uio"]`), devices: 1, differs: []allowance{firstUIO(`0000:3b:01\.5`)}},
	{name: "uio_pci_generic", machine: "server", config: sel(`"drivers": ["uio_pci_generic"]`), devices: 1, differs: []allowance{genericUIO}},
	{name: "no driver", machine: "server", config: sel(`"pciAddresses": ["0000:3b:01.7"]`), devices: 1, differs: []allowance{
		{"no driver bound", "resource/intel.com/dev", "-", "1 devices"},
	}},
	{name: "vfio, no-IOMMU mode", machine: "vm", config: sel(`"drivers": ["vfio-pci"]`), devices: 2},
	{name: "vfio and vhost-net", machine: "server", config: sel(`"drivers": ["vfio-pci"], "pfNames": ["ens1f0"], "needVhostNet": true`), devices: 2},
	{name: "vhost-net", machine: "server", config: sel(`"pfNames": ["ens2f1"], "NeedVhostNet": true`), devices: 4},
	{name: "vhost-net that is not there", machine: "vm", config: sel(`"drivers": ["iavf"], "needVhostNet": true`), devices: 1},
	{name: "vhost-net in one selector of two", machine: "server", config: one(`"selectors": [{"pfNames": ["ens2f1#0-1"], "needVhostNet": true}, {"pfNames": ["ens2f1"]}]`), devices: 4},
	{name: "vDPA that is not there", machine: "server", config: sel(`"vdpaType": "vhost"`)},
}

var rdmaCases = []diffCase{
	{name: "RDMA", machine: "server", config: sel(`"isRdma": true`), devices: 5, odd: true, differs: []allowance{nothing, twice}},
	{name: "RDMA by vendor and device", machine: "server", config: sel(`"vendors": ["15b3"], "devices": ["101e"], "IsRdma": true`), devices: 3},
	{name: "RDMA and vhost-net", machine: "server", config: sel(`"pfNames": ["enp94s0f0np0"], "isRdma": true, "needVhostNet": true`), devices: 3},
	{name: "RDMA device without isRdma", machine: "server", config: sel(`"pfNames": ["enp94s0f0np0"]`), devices: 4},
	{name: "RDMA in one selector of two", machine: "server", config: one(`"selectors": [{"pfNames": ["enp94s0f0np0#0-1"], "isRdma": true}, {"pfNames": ["enp94s0f0np0"]}]`), devices: 4},
	{name: "RDMA that is not there", machine: "server", config: sel(`"pfNames": ["ens2f1"], "isRdma": true`)},
	{name: "partition key", machine: "server", config: sel(`"pKeys": ["0x8001"]`), devices: 1},
	{name: "partition keys", machine: "server", config: sel(`"pKeys": ["0x8001", "0xabcd"], "isRdma": true`), devices: 2},
	{name: "partition key in upper case", machine: "server", config: sel(`"pKeys": ["0xABCD"]`), devices: 1, differs: []allowance{
		{"`pKeys`", "resource/intel.com/dev", "-", "1 devices"},
	}},
	{name: "partition key of an ethernet device", machine: "server", config: sel(`"pKeys": ["0xffff"]`)},
}

var otherCases = []diffCase{
	{name: "accelerators", machine: "server", config: accel(``), devices: 4, odd: true, differs: []allowance{
		nothing, twice,
		firstUIO(`0000:d8:00\.0`),
		{"Allocate of an unknown device", `.*/allocate/unknown(/.*)?`, "", "refused|-"},
	}},
	{name: "accelerator VFs", machine: "server", config: accel(`"devices": ["0d90"]`), devices: 2},
	{name: "accelerator by vendor and driver", machine: "server", config: accel(`"vendors": ["8086"], "drivers": ["igb_uio"]`), devices: 1, differs: []allowance{firstUIO(`0000:d8:00\.0`)}},
	{name: "accelerator by address", machine: "server", config: accel(`"pciAddresses": ["0000:d9:00.0"]`), devices: 1},
	{name: "accelerator by ACPI index", machine: "server", config: accel(`"acpiIndexes": ["9"]`), devices: 1, differs: []allowance{
		{"`acpiIndexes` of accelerators", `resource/.*/device/.*`, "numa .", "-"},
		firstUIO(`0000:d8:00\.0`),
	}},
	{name: "accelerator that is a NIC", machine: "server", config: accel(`"devices": ["1889"]`)},
	{name: "subfunctions", machine: "server", config: aux(`"auxTypes": ["sf"]`), devices: 2},
	{name: "subfunctions by PF name and range", machine: "server", config: aux(`"auxTypes": ["sf"], "pfNames": ["enp94s0f0np0#88"]`), devices: 1, odd: true, differs: []allowance{
		nothing, twice,
		{"Allocate of an unknown device", `.*/allocate/unknown(/.*)?`, "", "refused|-"},
	}},
	{name: "subfunctions by root device and range", machine: "server", config: aux(`"auxTypes": ["sf"], "rootDevices": ["0000:5e:00.0#89-90"]`), devices: 1},
	{name: "subfunctions by the parent's ids", machine: "server", config: aux(`"auxTypes": ["sf"], "vendors": ["15b3"], "devices": ["101d"], "drivers": ["mlx5_core"]`), devices: 2},
	{name: "subfunctions of another vendor", machine: "server", config: aux(`"auxTypes": ["sf"], "vendors": ["8086"]`)},
	{name: "subfunctions by link type", machine: "server", config: aux(`"auxTypes": ["sf"], "linkTypes": ["ether"]`), devices: 2},
	{name: "subfunctions with RDMA", machine: "server", config: aux(`"auxTypes": ["sf"], "isRdma": true`), devices: 1},
	{name: "subfunctions with vhost-net", machine: "server", config: aux(`"auxTypes": ["sf"], "needVhostNet": true`), devices: 2},
}

var poolCases = []diffCase{
	{name: "prefix", machine: "server", config: one(`"resourcePrefix": "example.com", "selectors": {"pfNames": ["ens2f1"]}`), devices: 4},
	{name: "hyphen in a name", machine: "server", config: `{"resourceList": [{"resourceName": "a-b_c", "resourcePrefix": "my-org.example.com", "selectors": {"pfNames": ["ens2f1"]}}]}`, devices: 4},
	{name: "two resources", machine: "server", config: `{"resourceList": [{"resourceName": "a", "selectors": {"pfNames": ["ens2f1"]}}, {"resourceName": "b", "selectors": {"pfNames": ["enp94s0f0np0"], "isRdma": true}}]}`, devices: 7},
	{name: "one name, two prefixes", machine: "server", config: `{"resourceList": [{"resourceName": "a", "resourcePrefix": "x.org", "selectors": {"pfNames": ["ens2f1"]}}, {"resourceName": "a", "selectors": {"pfNames": ["enp94s0f0np0"]}}]}`, devices: 8},
	{name: "the first resource has the device", machine: "server", config: `{"resourceList": [{"resourceName": "a", "selectors": {"pfNames": ["ens2f1#0-1"]}}, {"resourceName": "b", "selectors": {"pfNames": ["ens2f1"]}}]}`, devices: 4},
	{name: "the first resource has all", machine: "server", config: `{"resourceList": [{"resourceName": "a", "selectors": {"pfNames": ["ens2f1"]}}, {"resourceName": "b", "selectors": {"pfNames": ["ens2f1#0"]}}]}`, devices: 4},
	{name: "list of one selector", machine: "server", config: one(`"selectors": [{"pfNames": ["ens2f1"]}]`), devices: 4},
	{name: "list of two selectors", machine: "server", config: one(`"selectors": [{"vendors": ["15b3"], "devices": ["101e"]}, {"pfNames": ["ens2f1"]}]`), devices: 8},
	{name: "selectors that overlap", machine: "server", config: one(`"selectors": [{"pfNames": ["ens2f1#0-2"]}, {"pfNames": ["ens2f1#1-3"]}]`), devices: 4},
	{name: "no topology", machine: "server", config: one(`"excludeTopology": true, "selectors": {"pfNames": ["enp94s0f0np0"]}`), devices: 4},
	{name: "topology of the other node", machine: "server", config: one(`"excludeTopology": false, "selectors": {"pfNames": ["enp94s0f0np0"]}`), devices: 4},
	{name: "additional information for all", machine: "server", config: one(`"additionalInfo": {"*": {"token": "x", "zone": "a"}}, "selectors": {"pfNames": ["ens2f1"]}`), devices: 4},
	{name: "additional information for one", machine: "server", config: one(`"additionalInfo": {"0000:3c:01.1": {"token": "y"}}, "selectors": {"pfNames": ["ens2f1"]}`), devices: 4},
	{name: "additional information for all and one", machine: "server", config: one(`"additionalInfo": {"*": {"token": "x", "zone": "a"}, "0000:3c:01.1": {"token": "y"}}, "selectors": {"pfNames": ["ens2f1"]}`), devices: 4},
	{name: "additional information that is empty", machine: "server", config: one(`"additionalInfo": {}, "selectors": {"pfNames": ["ens2f1"]}`), devices: 4},
	{name: "additional information for a subfunction", machine: "server", config: one(`"deviceType": "auxNetDevice", "additionalInfo": {"0000:5e:00.0": {"token": "z"}}, "selectors": {"auxTypes": ["sf"]}`), devices: 2},
	{name: "additional information for an accelerator", machine: "server", config: one(`"deviceType": "accelerator", "additionalInfo": {"*": {"token": "z"}}, "selectors": {"devices": ["0d90"]}`), devices: 2},
	{name: "all device types", machine: "server", config: `{"resourceList": [
		{"resourceName": "n", "selectors": {"pfNames": ["ens2f1"]}},
		{"resourceName": "s", "deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"]}},
		{"resourceName": "a", "deviceType": "accelerator", "selectors": {"devices": ["0d90"]}}]}`, devices: 8},
	{name: "plugin watcher", machine: "server", watcher: true, config: sel(`"pfNames": ["ens2f1"]`), devices: 4, differs: []allowance{
		{"API versions told to the plugin watcher", `resource/.*/versions`, "DevicePlugin v1alpha1,v1beta1", "DevicePlugin v1beta1"},
	}},
	{name: "plugin watcher, two resources", machine: "server", watcher: true, config: `{"resourceList": [{"resourceName": "a", "selectors": {"pfNames": ["ens2f1"]}}, {"resourceName": "b", "selectors": {"drivers": ["vfio-pci"]}}]}`, devices: 7, differs: []allowance{
		{"API versions told to the plugin watcher", `resource/.*/versions`, "DevicePlugin v1alpha1,v1beta1", "DevicePlugin v1beta1"},
	}},
	{name: "restart", machine: "server", life: true, config: sel(`"pfNames": ["ens2f1#0-1"]`), devices: 2, differs: []allowance{
		{"device-info files over a restart", `(stopped|restarted)/devinfo/.*`, "-", "there"},
	}},
	{name: "restart, CDI", machine: "server", life: true, cdi: true, config: sel(`"drivers": ["vfio-pci"], "pfNames": ["ens1f0"]`), devices: 2, differs: append([]allowance{
		{"device-info files over a restart", `(stopped|restarted)/devinfo/.*`, "-", "there"},
		{"CDI files", `(stopped|restarted)/cdifile/.*`, "", ""},
	}, cdiRows...)},
	{name: "CDI, vfio", machine: "server", cdi: true, config: sel(`"drivers": ["vfio-pci"], "pfNames": ["ens1f0"]`), devices: 2, differs: cdiRows},
	{name: "CDI, vfio in no-IOMMU mode", machine: "vm", cdi: true, config: sel(`"drivers": ["vfio-pci"]`), devices: 2, differs: cdiRows},
	{name: "CDI, RDMA", machine: "server", cdi: true, config: sel(`"pfNames": ["enp94s0f0np0"], "isRdma": true`), devices: 3, differs: cdiRows},
	{name: "CDI, accelerators", machine: "server", cdi: true, config: accel(`"devices": ["0d90"]`), devices: 2, differs: cdiRows},
	{name: "CDI, subfunctions", machine: "server", cdi: true, config: aux(`"auxTypes": ["sf"], "isRdma": true`), devices: 1, differs: cdiRows},
	{name: "CDI, two resources of one prefix and type", machine: "server", cdi: true, config: `{"resourceList": [{"resourceName": "a", "selectors": {"drivers": ["vfio-pci"], "pfNames": ["ens1f0"]}}, {"resourceName": "b", "selectors": {"drivers": ["igb_uio"]}}]}`, devices: 3, differs: cdiRows},
	{name: "CDI, kernel driver", machine: "server", cdi: true, config: sel(`"pfNames": ["ens2f1"]`), devices: 4, differs: []allowance{
		{"CDI devices without nodes", "resource/intel.com/dev", "the stream failed", "4 devices"},
	}},
}

var machineCases = []diffCase{
	{name: "VM", machine: "vm", config: sel(``), devices: 4, odd: true, differs: []allowance{nothing, twice}},
	{name: "VM, PF names", machine: "vm", config: sel(`"pfNames": ["ens5"]`)},
	{name: "VM, link type", machine: "vm", config: sel(`"linkTypes": ["ether"]`), devices: 2},
	{name: "VM, virtio", machine: "vm", config: sel(`"vendors": ["1af4"], "drivers": ["virtio-pci"]`), devices: 1},
	{name: "default route", machine: "uplink", config: sel(``), devices: 3, differs: []allowance{
		{"devices that carry the node's network", `resource/intel.com/dev/device/0000:00:05\.0`, "", "-"},
	}},
	{name: "no device on the machine", machine: "bare", config: sel(``)},
	{name: "no accelerator on the machine", machine: "bare", config: accel(``)},
	{name: "switchdev, PF name", machine: "switchdev", config: sel(`"pfNames": ["zuplink"]`), devices: 2, differs: []allowance{
		{"`pfNames`", "resource/intel.com/dev", "-", "2 devices"},
	}},
	{name: "odd, everything", machine: "odd", config: sel(``), devices: 7, odd: true, differs: []allowance{
		nothing, twice, variant,
		{"vfio-pci without IOMMU group, uio without uio device", `resource/.*/device/0000:02:00\.[01]/health`, "Healthy", "Unhealthy"},
		{"Allocate of an unhealthy device", `(resource/.*/allocate/0000:02:00\.[01]|devinfo/.*-0000:02:00\.[01]-).*`, "", "refused|-"},
	}},
	{name: "odd, RDMA", machine: "odd", config: sel(`"isRdma": true`), devices: 2, differs: []allowance{
		only("RDMA devices of software (rxe, siw)", `0000:01:01\.1`),
	}},
	{name: "odd, RDMA of a subfunction", machine: "odd", config: aux(`"auxTypes": ["sf"], "isRdma": true`), devices: 1, differs: []allowance{
		{"`/dev/infiniband/ucm*`", `resource/.*/node//dev/infiniband/ucm9`, "/dev/infiniband/ucm9 rw", "-"},
	}},
	{name: "odd, subfunctions", machine: "odd", config: aux(`"auxTypes": ["sf"]`), devices: 2, differs: []allowance{
		only("an SF whose parent has no interface", `mlx5_core\.sf\.2`),
	}},
	{name: "odd, PF name", machine: "odd", config: sel(`"pfNames": ["ens3f0"]`), devices: 3, differs: []allowance{variant}},
	{name: "odd, alternative PF name", machine: "odd", config: sel(`"pfNames": ["enp1s0np0"]`), devices: 3, differs: []allowance{
		{"`pfNames`", "resource/intel.com/dev", "-", "3 devices"},
	}},
	{name: "odd, second interface of a PF", machine: "odd", config: sel(`"pfNames": ["ens3f0b"]`), devices: 3, differs: []allowance{
		{"`pfNames`", "resource/intel.com/dev", "-", "3 devices"},
	}},
	{name: "odd, long domain", machine: "odd", config: sel(`"pciAddresses": ["10000:01:00.0"]`), devices: 1},
	{name: "address in upper case", machine: "server", config: sel(`"pciAddresses": ["0000:3C:01.1"]`), devices: 1, differs: []allowance{
		{"PCI ids and addresses in upper case", `resource/intel.com/dev`, "-", "1 devices"},
	}},
	{name: "vendor with 0x", machine: "server", config: sel(`"vendors": ["0x8086"]`), devices: -1, differs: []allowance{refusedHere("values that can never match")}},
	{name: "address without domain", machine: "server", config: sel(`"pciAddresses": ["3b:01.1"]`), devices: -1, differs: []allowance{refusedHere("values that can never match")}},
	{name: "link type of another kind", machine: "server", config: sel(`"linkTypes": ["ethernet"]`), devices: -1, differs: []allowance{refusedHere("values that can never match")}},
	{name: "selector of another device type", machine: "server", config: aux(`"auxTypes": ["sf"], "acpiIndexes": ["3"]`), devices: -1, differs: []allowance{refusedHere("selectors that a device type does not have")}},
	{name: "names for accelerators", machine: "server", config: accel(`"pfNames": ["ens1f0"]`), devices: -1, differs: []allowance{refusedHere("selectors that a device type does not have")}},
	{name: "additional information for a name", machine: "server", config: one(`"additionalInfo": {"ens2f1": {"a": "b"}}, "selectors": {"pfNames": ["ens2f1"]}`), devices: -1, differs: []allowance{refusedHere("values that can never match")}},
	{name: "many VFs", machine: "large", config: sel(``), devices: 128},
	{name: "many VFs, ranges", machine: "large", config: `{"resourceList": [{"resourceName": "even", "selectors": {"pfNames": ["ens0f0#0-9,20-29", "ens1f0#60-63"]}}, {"resourceName": "rest", "excludeTopology": true, "selectors": {"drivers": ["iavf"]}}]}`, devices: 128},
	{name: "no tun", machine: "notun", config: sel(`"drivers": ["vfio-pci"], "needVhostNet": true`), devices: 2, differs: []allowance{
		{"`needVhostNet` without `/dev/net/tun`", `resource/.*/info/.*/vhost(/.*)?`, "given|/dev/.*", "-"},
	}},
	{name: "root device in upper case", machine: "server", config: sel(`"rootDevices": ["0000:3C:00.0"]`), devices: 4},
	{name: "default route, by link type", machine: "uplink", config: sel(`"linkTypes": ["ether"]`), devices: 1, differs: []allowance{
		{"devices that carry the node's network", `resource/intel.com/dev/device/0000:00:05\.0`, "", "-"},
	}},
	{name: "switchdev, root device", machine: "switchdev", config: sel(`"rootDevices": ["0000:5e:00.0#1"]`), devices: 1},
}

// bad are configurations that one of the two refuses, or both.
var badCases = []diffCase{
	{name: "device type", machine: "bare", config: one(`"deviceType": "netdevice", "selectors": {}`)},
	{name: "name with a dot", machine: "bare", config: `{"resourceList": [{"resourceName": "a.b", "selectors": {}}]}`},
	{name: "one resource twice", machine: "bare", config: `{"resourceList": [{"resourceName": "a", "selectors": {}}, {"resourceName": "a", "selectors": {}}]}`},
	{name: "selectors missing", machine: "bare", config: `{"resourceList": [{"resourceName": "a"}]}`},
	{name: "selectors null", machine: "bare", config: one(`"selectors": null`)},
	{name: "selectors with null in a list", machine: "bare", config: one(`"selectors": [null]`)},
	{name: "isRdma with vdpaType", machine: "bare", config: sel(`"isRdma": true, "vdpaType": "vhost"`)},
	{name: "isRdma with vdpaType in the second selector", machine: "bare", config: one(`"selectors": [{"isRdma": true}, {"isRdma": true, "vdpaType": "virtio"}]`)},
	{name: "isRdma and vdpaType in two selectors", machine: "bare", config: one(`"selectors": [{"isRdma": true}, {"vdpaType": "virtio"}]`)},
	{name: "auxTypes missing", machine: "bare", config: aux(`"vendors": ["15b3"]`)},
	{name: "auxTypes of another kind", machine: "bare", config: aux(`"auxTypes": ["eth"]`)},
	{name: "a comma too much", machine: "bare", config: `{"resourceList": [{"resourceName": "a", "selectors": {},}]}`, differs: []allowance{
		{"YAML that is not JSON (comments, a comma at the end)", "refused", "yes", "-"},
	}},
	{name: "unknown key", machine: "server", config: sel(`"pfNames": ["ens2f1"], "pfnamez": ["x"]`), devices: -1, differs: []allowance{refusedHere("unknown keys, wrong types")}},
	{name: "selector of a wrong type", machine: "server", config: `{"resourceList": [{"resourceName": "a", "selectors": {"vendors": "8086"}}, {"resourceName": "b", "selectors": {"pfNames": ["ens2f1"]}}]}`, devices: -1, differs: []allowance{refusedHere("unknown keys, wrong types")}},
	{name: "empty list of selectors", machine: "server", config: `{"resourceList": [{"resourceName": "a", "selectors": []}, {"resourceName": "b", "selectors": {"pfNames": ["ens2f1"]}}]}`, devices: -1, differs: []allowance{refusedHere("unknown keys, wrong types")}},
	{name: "range backwards", machine: "server", config: sel(`"pfNames": ["ens2f1#3-1"]`), devices: -1, differs: []allowance{refusedHere("malformed ranges (`pf#3-1`, `pf#`, `pf#a`)")}},
	{name: "range that is empty", machine: "server", config: sel(`"pfNames": ["ens2f1#"]`), devices: -1, differs: []allowance{refusedHere("malformed ranges (`pf#3-1`, `pf#`, `pf#a`)")}},
	{name: "range of letters", machine: "server", config: sel(`"pfNames": ["ens1f0#0", "ens2f1#a"]`), devices: -1, differs: []allowance{refusedHere("malformed ranges (`pf#3-1`, `pf#`, `pf#a`)")}},
	{name: "vdpaType of another kind", machine: "server", config: sel(`"vdpaType": "both"`), devices: -1, differs: []allowance{refusedHere("values that can never match")}},
	{name: "prefix that the kubelet refuses", machine: "server", config: one(`"resourcePrefix": "Not A Domain", "selectors": {"pfNames": ["ens2f1"]}`), devices: -1, differs: []allowance{refusedHere("`resourcePrefix` and name")}},
}

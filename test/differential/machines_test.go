package differential

import "fmt"

// machines are the made-up machines by name. Ids are of real NICs; names and
// addresses are chosen freely.
var machines = map[string]func() *machine{
	"server": server, "vm": vm, "uplink": uplink, "bare": bare, "switchdev": switchdev, "odd": oddities, "notun": noTun, "large": large,
}

// server has everything that one machine can have: two NUMA nodes, NICs of
// three vendors, InfiniBand, subfunctions and accelerators.
func server() *machine {
	m := &machine{}
	add := func(f ...function) { m.functions = append(m.functions, f...) }

	// Eight VFs, each driver that counts.
	intel := function{addr: "0000:3b:00.0", vendor: "8086", device: "1592", class: "020000", driver: "ice", net: ether("ens1f0"), total: 64, vfs: 8, acpi: "1"}
	add(intel)
	add(virtual(intel, "1889", "iavf", 8, func(i int, f *function) {
		f.net = ether(fmt.Sprintf("ens1f0v%d", i))
		switch i {
		case 3, 4:
			f.driver, f.net, f.group = "vfio-pci", nil, 169+i
		case 5:
			f.driver, f.net, f.uio = "igb_uio", nil, "uio0"
		case 6:
			f.driver, f.net, f.uio = "uio_pci_generic", nil, "uio1"
		case 7:
			f.driver, f.net = "", nil
		}
	})...)
	// The second port of another card: no interface of VF 1 here (it is in a pod).
	second := function{addr: "0000:3c:00.0", vendor: "8086", device: "1592", class: "020000", driver: "ice", numa: 0, net: ether("ens2f1"), total: 64, vfs: 4, acpi: "2"}
	add(second)
	add(virtual(second, "1889", "iavf", 4, func(i int, f *function) {
		if i != 1 {
			f.net = ether(fmt.Sprintf("ens2f1v%d", i))
		}
	})...)
	// RDMA, the other NUMA node.
	mlx := function{addr: "0000:5e:00.0", vendor: "15b3", device: "101d", class: "020000", driver: "mlx5_core", numa: 1,
		net: ether("enp94s0f0np0"), total: 16, vfs: 4, rdma: []rdma{{name: "mlx5_0", number: 0, pkey: "0xffff"}}}
	add(mlx)
	add(virtual(mlx, "101e", "mlx5_core", 4, func(i int, f *function) {
		f.net = ether(fmt.Sprintf("enp94s0f0v%d", i))
		if i < 3 {
			f.rdma = []rdma{{name: fmt.Sprintf("mlx5_%d", i+1), number: i + 1, pkey: "0xffff"}}
		}
	})...)
	m.sfs = []subfunction{
		{name: "mlx5_core.sf.4", parent: mlx.addr, num: 88, net: ether("enp94s0f0s88"), rdma: []rdma{{name: "mlx5_10", number: 10, pkey: "0xffff"}}},
		{name: "mlx5_core.sf.5", parent: mlx.addr, num: 89, net: ether("enp94s0f0s89")},
		{name: "mlx5_core.eth.0", parent: mlx.addr, noNum: true},
	}
	// InfiniBand with partitions.
	ib := function{addr: "0000:86:00.0", vendor: "15b3", device: "101b", class: "020700", driver: "mlx5_core", numa: 1,
		net: []netdev{{name: "ib0", infiniband: true}}, total: 8, vfs: 2, rdma: []rdma{{name: "mlx5_20", number: 20, pkey: "0xffff"}}}
	add(ib)
	add(virtual(ib, "101c", "mlx5_core", 2, func(i int, f *function) {
		f.net = []netdev{{name: fmt.Sprintf("ib0v%d", i), infiniband: true}}
		f.rdma = []rdma{{name: fmt.Sprintf("mlx5_%d", 21+i), number: 21 + i, pkey: []string{"0x8001", "0xabcd"}[i]}}
	})...)
	// PFs without VFs, a NIC without SR-IOV, one without NUMA node, one without
	// driver.
	add(function{addr: "0000:af:00.0", vendor: "8086", device: "1572", class: "020000", driver: "i40e", numa: 1, net: ether("eno1"), total: 32, acpi: "3"})
	add(function{addr: "0000:af:00.1", vendor: "8086", device: "1572", class: "020000", driver: "vfio-pci", numa: 1, total: 32, group: 190})
	add(function{addr: "0000:b0:00.0", vendor: "14e4", device: "165f", class: "020000", driver: "tg3", numa: -1, net: ether("eno3")})
	add(function{addr: "0000:b0:00.1", vendor: "14e4", device: "165f", class: "020000", numa: -1})
	// Accelerators: one PF with VFs, one on its own; and a disk.
	fpga := function{addr: "0000:d8:00.0", vendor: "8086", device: "0d8f", class: "120000", driver: "igb_uio", numa: 1, total: 16, vfs: 2, uio: "uio8", acpi: "9"}
	add(fpga)
	add(virtual(fpga, "0d90", "vfio-pci", 2, func(i int, f *function) { f.group = 200 + i })...)
	add(function{addr: "0000:d9:00.0", vendor: "1d22", device: "3685", class: "120000", driver: "kunlun", numa: 0})
	add(function{addr: "0000:e0:00.0", vendor: "144d", device: "a80a", class: "010802", driver: "nvme", numa: 0})
	return m
}

// vm has VFs that were passed through: no PF, no IOMMU, and no vhost.
func vm() *machine {
	m := &machine{missing: []string{"vhost-net", "rdma_cm"}}
	for i := range 4 {
		f := function{addr: fmt.Sprintf("0000:00:%02x.0", 5+i), vendor: "8086", device: "154c", class: "020000", driver: "iavf", numa: -1, net: ether(fmt.Sprintf("ens%d", 5+i))}
		switch i {
		case 1, 2:
			f.driver, f.net, f.group, f.noIOMMU = "vfio-pci", nil, i, true
		case 3:
			f.vendor, f.device, f.driver = "1af4", "1000", "virtio-pci"
		}
		m.functions = append(m.functions, f)
	}
	return m
}

// noTun is a VM with vhost-net and without tun.
func noTun() *machine {
	m := vm()
	m.missing = []string{"tun"}
	return m
}

// uplink is a VM whose first NIC has the default route.
func uplink() *machine {
	m := vm()
	m.route, m.address = "ens5", "192.0.2.10/24"
	return m
}

// bare has no device that either program knows.
func bare() *machine {
	return &machine{functions: []function{{addr: "0000:e0:00.0", vendor: "144d", device: "a80a", class: "010802", driver: "nvme"}}}
}

// switchdev has representors beside the uplink, whose name sorts last.
func switchdev() *machine {
	pf := function{addr: "0000:5e:00.0", vendor: "15b3", device: "101d", class: "020000", driver: "mlx5_core", total: 8, vfs: 2,
		net: []netdev{
			{name: "zuplink", switchID: "0011", portName: "p0"},
			{name: "eth0", switchID: "0011", portName: "pf0vf0"},
			{name: "eth1", switchID: "0011", portName: "pf0vf1"},
		}}
	m := &machine{functions: []function{pf}}
	m.functions = append(m.functions, virtual(pf, "101e", "mlx5_core", 2, func(i int, f *function) {
		f.net = ether(fmt.Sprintf("ens9v%d", i))
	})...)
	return m
}

// oddities has what is rare or broken.
func oddities() *machine {
	pf := function{addr: "0000:01:00.0", vendor: "15b3", device: "101d", class: "020000", driver: "mlx5_core", total: 8, vfs: 3,
		net: []netdev{{name: "ens3f0", alt: "enp1s0np0"}, {name: "ens3f0b"}}}
	m := &machine{functions: []function{pf}}
	add := func(f ...function) { m.functions = append(m.functions, f...) }
	add(virtual(pf, "101e", "mlx5_core", 3, func(i int, f *function) {
		switch i {
		case 0: // two RDMA devices
			f.net = ether("ens3f0v0")
			f.rdma = []rdma{{name: "mlx5_a", number: 1, pkey: "0xffff"}, {name: "mlx5_b", number: 2, pkey: "0xffff"}}
		case 1: // two interfaces
			f.net = []netdev{{name: "ens3f0v1"}, {name: "ens3f0v1b"}}
			f.rdma = []rdma{{name: "rxe0", number: 5, pkey: "0xffff", on: "ens3f0v1"}}
		case 2: // a vendor's variant
			f.driver, f.group = "mlx5_vfio_pci", 7
		}
	})...)
	// Userspace drivers that have not made their devices.
	add(function{addr: "0000:02:00.0", vendor: "8086", device: "1572", class: "020000", driver: "vfio-pci", numa: -1})
	add(function{addr: "0000:02:00.1", vendor: "8086", device: "1572", class: "020000", driver: "igb_uio", numa: -1})
	// Behind an Intel VMD the domain has five digits.
	add(function{addr: "10000:01:00.0", vendor: "8086", device: "1572", class: "020000", driver: "i40e", net: ether("eno9")})
	// A parent of subfunctions without interface: its eswitch has taken it.
	parent := function{addr: "0000:03:00.0", vendor: "15b3", device: "a2d6", class: "020000", driver: "mlx5_core"}
	add(parent)
	m.sfs = []subfunction{
		{name: "mlx5_core.sf.2", parent: parent.addr, num: 1, net: ether("enp3s0f0s1")},
		{name: "mlx5_core.sf.3", parent: pf.addr, num: 2, rdma: []rdma{{name: "mlx5_c", number: 9, pkey: "0xffff", ucm: true}}},
	}
	return m
}

// large has two PFs with 64 VFs each, on two NUMA nodes.
func large() *machine {
	m := &machine{}
	for p := range 2 {
		pf := function{addr: fmt.Sprintf("0000:%02x:00.0", 0x10*(p+1)), vendor: "8086", device: "1592", class: "020000", driver: "ice",
			numa: p, net: ether(fmt.Sprintf("ens%df0", p)), total: 64, vfs: 64}
		m.functions = append(m.functions, pf)
		m.functions = append(m.functions, virtual(pf, "1889", "iavf", 64, func(i int, f *function) {
			f.net = ether(fmt.Sprintf("ens%df0v%d", p, i))
		})...)
	}
	return m
}

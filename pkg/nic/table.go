package nic

type family struct {
	vendor, driver string
	products       []product
}

// product is one line: PF ids that share a name and a VF id.
type product struct{ pf, vf, name string }

// families is the table of ids. Sources: the device tables of the kernel's
// drivers (the *_pci_tbl of each) and the SR-IOV Network Operator's list of
// supported adapters.
var families = [...]family{
	{"8086", "igb", []product{
		{"10c9 10e6 10e7 10e8 150a 150d 1518 1526", "10ca", "Intel 82576"},
		{"1521 1522 1523 1524 1546", "1520", "Intel I350"},
	}},
	{"8086", "ixgbe", []product{
		{"10fb 10f7 10f8 10f9 10fc 1507 1514 1517 151c 1529 152a 154a 154d 154f 1557 1558", "10ed", "Intel 82599"},
		{"1528 1560", "1515", "Intel X540"},
		{"1563 15d1", "1565", "Intel X550"},
		{"15aa 15ab 15ac 15ad 15ae", "15a8", "Intel X552"},
		{"15c2 15c3 15c4 15c6 15c7 15c8 15ca 15cc 15ce 15e4 15e5", "15c5", "Intel X553"},
		{"57ae 57af 57b0 57b1 57b2", "57ad", "Intel E610"},
	}},
	{"8086", "i40e", []product{
		{"1572", "154c", "Intel X710 SFP+"},
		{"1580 1581", "154c", "Intel X710 backplane"},
		{"1583 1584", "154c", "Intel XL710 QSFP+"},
		{"1585 1586 1589 0dd2 104e 104f 15ff 101f", "154c", "Intel X710 BASE-T"},
		{"1587 1588 158a", "154c", "Intel XXV710"},
		{"158b", "154c", "Intel XXV710 SFP28"},
		{"0d58", "154c", "Intel XXV710 (N3000)"},
		{"0dda", "154c", "Intel X710 (N3000)"},
		{"37ce 37cf 37d0 37d1 37d2 37d3", "37cd", "Intel X722"},
	}},
	{"8086", "ice", []product{
		{"1591", "1889", "Intel E810-C backplane"},
		{"1592", "1889", "Intel E810-C QSFP"},
		{"1593", "1889", "Intel E810-C SFP"},
		{"1599", "1889", "Intel E810-XXV backplane"},
		{"159a", "1889", "Intel E810-XXV QSFP"},
		{"159b", "1889", "Intel E810-XXV SFP"},
		{"1890 1891 1892 1893 1894 1897 1898 1899 189a", "1889", "Intel E822"},
		{"188a 188b 188c 188d 188e 124c 124d 124e 124f 151d", "1889", "Intel E823"},
		{"579c 579d 579e 579f", "1889", "Intel E825-C"},
		{"12d1 12d2 12d3 12d4 12d5 12d8 12d9 12da 12db 12dc 12dd", "1889", "Intel E830"},
		{"1248 1249 124a", "1889", "Intel E835"},
	}},
	{"15b3", "mlx5_core", []product{
		{"1013", "1014", "NVIDIA ConnectX-4"},
		{"1015", "1016", "NVIDIA ConnectX-4 Lx"},
		{"1017", "1018", "NVIDIA ConnectX-5"},
		{"1019", "101a", "NVIDIA ConnectX-5 Ex"},
		{"101b", "101c", "NVIDIA ConnectX-6"},
		{"101d", "101e", "NVIDIA ConnectX-6 Dx"},
		{"101f", "101e", "NVIDIA ConnectX-6 Lx"},
		{"1021", "101e", "NVIDIA ConnectX-7"},
		{"1023", "101e", "NVIDIA ConnectX-8"},
		{"1025", "101e", "NVIDIA ConnectX-9"},
		{"a2d2", "a2d3", "NVIDIA BlueField"},
		{"a2d6", "101e", "NVIDIA BlueField-2"},
		{"a2dc", "101e", "NVIDIA BlueField-3"},
		{"a2df", "101e", "NVIDIA BlueField-4"},
	}},
	{"14e4", "bnxt_en", []product{
		{"16d6", "16dc", "Broadcom BCM57412"},
		{"16d7", "16dc", "Broadcom BCM57414"},
		{"16d8 16e3", "16dc", "Broadcom BCM57416"},
		{"16d9 16e2", "16dc", "Broadcom BCM57417"},
		{"1750", "1806", "Broadcom BCM57508"},
		{"1751", "1806", "Broadcom BCM57504"},
		{"1752", "1806", "Broadcom BCM57502"},
		{"1760", "1819", "Broadcom BCM57608"},
	}},
	{"1077", "qede", []product{
		{"1629 1634 1636 1644 1654 1656", "1664", "Marvell FastLinQ QL45000"},
		{"8070", "8090", "Marvell FastLinQ QL41000"},
	}},
	{"1924", "sfc", []product{
		{"0a03", "1a03", "AMD Solarflare SFC9220"},
		{"0b03", "1b03", "AMD Solarflare SFC9250"},
	}},
	{"19e5", "hinic", []product{{"1822", "375e", "Huawei Hi1822"}}},
	{"19ee", "nfp", []product{{"4000 5000 6000", "6003", "Netronome Agilio"}}},
	{"1dd8", "ionic", []product{{"1002", "1003", "AMD Pensando DSC"}}},
	{"1137", "enic", []product{{"0043", "0071", "Cisco VIC"}}},
	{"177d", "octeontx2-nicpf", []product{
		{"b200", "b203", "Marvell OCTEON CN96XX"},
		{"b100", "b103", "Marvell OCTEON CN98XX"},
		{"b600", "b603", "Marvell OCTEON CNF95XX"},
		{"b900", "b903", "Marvell OCTEON CN10XXX"},
		{"ba00", "ba03", "Marvell OCTEON CNF105XX"},
	}},
	{"1d0f", "ena", []product{{"ec20", "ec20", "Amazon ENA"}}},
	{"1af4", "virtio-pci", []product{
		{"1000", "1000", "Virtio network"},
		{"1041", "1041", "Virtio network 1.0"},
	}},
	// Processing accelerators.
	{"8086", "", []product{
		{"0d5c", "0d5d", "Intel ACC100"},
		{"57c0", "57c1", "Intel VRB1"},
		{"57c2", "57c3", "Intel VRB2"},
		{"0d8f", "0d90", "Intel FPGA 5GNR FEC"},
	}},
}

// behaviours says how the drivers answer. Sources: the ndo_set_vf_* functions
// and sriov_configure of each driver in the kernel tree; for igb and netdevsim
// also seen on running kernels (docs/verified.md).
var behaviours = [...]Behaviour{
	{
		Driver: "mlx5_core", VFDriver: "mlx5_core", Eswitch: OrderVFsFirst, SteeringMode: "smfs",
		MinRate: Yes, MaxRate: Yes, LinkState: Yes, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: Unknown,
		GUIDs: Yes, RDMA: Yes, VDPA: Yes,
	},
	{
		Driver: "ice", VFDriver: "iavf", VFModule: "iavf", Eswitch: OrderModeFirst, ResetsVFOnMAC: true,
		MinRate: Yes, MaxRate: Yes, LinkState: Yes, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: Yes,
		GUIDs: No, RDMA: Yes, VDPA: No,
	},
	{
		Driver: "i40e", VFDriver: "iavf", VFModule: "iavf", Eswitch: OrderNone, ResetsVFOnMAC: true,
		MinRate: No, MaxRate: Yes, LinkState: Yes, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: No,
		GUIDs: No, RDMA: No, VDPA: No,
	},
	{
		Driver: "ixgbe", VFDriver: "ixgbevf", VFModule: "ixgbevf", Eswitch: OrderNone,
		MinRate: No, MaxRate: Yes, LinkState: Yes, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: No,
		GUIDs: No, RDMA: No, VDPA: No,
	},
	{
		Driver: "igb", VFDriver: "igbvf", VFModule: "igbvf", Eswitch: OrderNone,
		MinRate: No, MaxRate: Yes, LinkState: No, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: No,
		GUIDs: No, RDMA: No, VDPA: No,
	},
	{
		Driver: "bnxt_en", VFDriver: "bnxt_en", Eswitch: OrderVFsFirst,
		MinRate: Yes, MaxRate: Yes, LinkState: Yes, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: No,
		GUIDs: No, RDMA: Yes, VDPA: No,
	},
	{
		Driver: "qede", VFDriver: "qede", Eswitch: OrderNone,
		MinRate: Yes, MaxRate: Yes, LinkState: Yes, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: No,
		GUIDs: No, VDPA: No,
	},
	{Driver: "sfc", VFDriver: "sfc", Eswitch: OrderNone, GUIDs: No, RDMA: No, VDPA: No},
	{Driver: "ena", VFDriver: "ena", Eswitch: OrderNone, GUIDs: No, RDMA: No, VDPA: No},
	{Driver: "enic", VFDriver: "enic", Eswitch: OrderNone, GUIDs: No},
	{Driver: "octeontx2-nicpf", VFDriver: "octeontx2-nicvf", VFModule: "octeontx2_nicvf", Eswitch: OrderVFsFirst, GUIDs: No},
	{Driver: "nfp", VFDriver: "nfp", Eswitch: OrderVFsFirst, GUIDs: No},
	{Driver: "ionic", VFDriver: "ionic", Eswitch: OrderNone, GUIDs: No},
	{Driver: "hinic", VFDriver: "hinic", Eswitch: OrderNone, GUIDs: No},
	{Driver: "virtio-pci", VFDriver: "virtio-pci", Eswitch: OrderNone, GUIDs: No},
	{
		Driver: "netdevsim", Eswitch: OrderVFsFirst,
		MinRate: No, MaxRate: No, LinkState: Yes, Trust: Yes, SpoofCheck: Yes, VLAN: Yes, VLAN8021AD: Yes,
		GUIDs: No, RDMA: No, VDPA: No,
	},
}

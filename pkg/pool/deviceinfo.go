package pool

// DeviceInfoVersion is the version of the device-info format that we write.
// Source: Network Plumbing Working Group, Device Information Specification
// 1.1.0.
const DeviceInfoVersion = "1.1.0"

// DeviceInfo shows Multus and the pod what a device is. The order of the fields
// is that of the format's other writers.
type DeviceInfo struct {
	Type    string    `json:"type"` // pci | vdpa
	Version string    `json:"version"`
	PCI     *PCIInfo  `json:"pci,omitempty"`
	VDPA    *VDPAInfo `json:"vdpa,omitempty"`
}

// PCIInfo is a PCI function.
type PCIInfo struct {
	Address      string `json:"pci-address,omitempty"`
	VhostNet     string `json:"vhost-net,omitempty"`
	RDMADevice   string `json:"rdma-device,omitempty"` // several are joined by commas
	PFPCIAddress string `json:"pf-pci-address,omitempty"`
	Representor  string `json:"representor-device,omitempty"`
}

// VDPAInfo is a vDPA device.
type VDPAInfo struct {
	ParentDevice string `json:"parent-device,omitempty"`
	Driver       string `json:"driver,omitempty"` // vhost | virtio
	Path         string `json:"path,omitempty"`
	PCIAddress   string `json:"pci-address,omitempty"`
	PFPCIAddress string `json:"pf-pci-address,omitempty"`
	Representor  string `json:"representor-device,omitempty"`
}

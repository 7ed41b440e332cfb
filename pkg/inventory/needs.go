package inventory

// Needs are the costlier facts that a reading must bring. On a machine with
// thousands of VFs each attribute is thousands of system calls, and most
// configs ask for few of them.
type Needs struct {
	// VFSettings are what a plan compares: each VF's driver_override and, where
	// netlink is missing, its interface's attributes. Without it
	// DriverOverride is "", and a VF's Netdev may have no more than its name and
	// the link type of its PF.
	VFSettings bool
	// PFOverrides are the driver_override of the PFs, which nothing is decided by.
	// Reading it waits for whoever makes or removes VFs of the PF.
	PFOverrides bool
	// ACPIIndexes are the firmware's numbers of the functions that are no PF.
	ACPIIndexes bool
	// AER reports of each function that is no PF whether its PCIe error counters
	// are wanted; nil means no. A PF's are always read.
	AER func(address string) bool
}

// Everything is what a reading for a person brings.
func Everything() Needs {
	return Needs{VFSettings: true, PFOverrides: true, ACPIIndexes: true, AER: func(string) bool { return true }}
}

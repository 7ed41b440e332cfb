package inventory

// PF returns the PF with the address, nil when there is none.
func (s *Snapshot) PF(address string) *PF {
	if s == nil {
		return nil
	}
	for i := range s.PFs {
		if s.PFs[i].Address == address {
			return &s.PFs[i]
		}
	}
	return nil
}

// VF returns the VF with the address and its PF, nil and nil when there is none: a VF
// whose PF is not there (in a VM) is in Others.
func (s *Snapshot) VF(address string) (*VF, *PF) {
	if s == nil {
		return nil, nil
	}
	for i := range s.PFs {
		pf := &s.PFs[i]
		for j := range pf.VFs {
			if pf.VFs[j].Address == address {
				return &pf.VFs[j], pf
			}
		}
	}
	return nil, nil
}

// Device is what a device is that a pool names by its ID.
type Device struct {
	// Function is the PCI function, nil for a subfunction.
	Function *Function
	// PF is the function itself, or the VF's PF; nil for others.
	PF *PF
	// VF is the function when it is a VF, nil for others.
	VF *VF
	// Subfunction is the device when it is one, nil for others.
	Subfunction *Subfunction
}

// Device returns the device with the ID, the address of a PCI function or the name of
// a subfunction, and whether there is one.
func (s *Snapshot) Device(id string) (Device, bool) {
	if s == nil {
		return Device{}, false
	}
	if pf := s.PF(id); pf != nil {
		return Device{Function: &pf.Function, PF: pf}, true
	}
	if vf, pf := s.VF(id); vf != nil {
		return Device{Function: &vf.Function, PF: pf, VF: vf}, true
	}
	for i := range s.Others {
		if s.Others[i].Address == id {
			return Device{Function: &s.Others[i]}, true
		}
	}
	for i := range s.Subfunctions {
		if s.Subfunctions[i].Name == id {
			return Device{Subfunction: &s.Subfunctions[i]}, true
		}
	}
	return Device{}, false
}

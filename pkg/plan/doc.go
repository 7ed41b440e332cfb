// Package plan decides what has to be done so that a machine is what the
// config says: Compute turns the config, an inventory, the use of devices
// and the record of earlier runs into ordered steps, each a typed operation
// (pkg/op) with its reason, what it disrupts and whom it waits for.
//
// It is pure. It may import pkg/spec, pkg/inventory, pkg/selection, pkg/nic,
// pkg/op, pkg/record and pkg/use (data only). It never reads or writes the machine,
// never logs, and never reads the clock.
//
// The rules about devices that somebody holds, or may hold:
//
//   - Every step of a PF that is held itself waits: a PF is offered while it has no
//     VFs. A change of the eswitch mode waits for who has its subfunctions.
//   - A step that destroys or resets them waits (Step.Wait), and their PF's plan
//     names the devices that pools withdraw (PFPlan.Withdraw).
//   - What the PF holds for such a VF (MAC, VLAN, trust ...) is its holder's too:
//     a CNI plugin sets it for its pod and restores it. A difference there is a
//     notice, and a step once the VF is free.
//   - So is the driver of a VF that has none: a step that binds one waits too.
//   - An eswitch mode that changes with VFs unbound unbinds all of them or none.
//
// What the kernel does not report is compared with nothing: it is written when
// the VF is made, and once more only when a run was cut short before it
// (record.PF.Open). What the driver refused stays refused for the boot
// (record.PF.Refused), so that a second run writes nothing.
//
// VFs are made with autoprobe off whenever one of them is not for the kernel's
// own driver or has an address to read first; driver_override then says which
// driver each gets ("none" for nobody), and autoprobe is put on again before the
// kernel's own driver is asked, because with it off the kernel binds no VF that
// has no override (pci_device_can_probe in drivers/pci/pci-driver.c).
//
// An attribute of VFs is one operation in pkg/op and one row of attributes: what
// the config wants, how it is set, what a new VF has and what drivers can. VFs go
// through stages (vf.go), each a function of the value that the one before made.
//
// Steps name devices by PF address and VF index, so that a plan can speak of
// VFs that it is about to make. Steps of different PFs never depend on each
// other.
package plan

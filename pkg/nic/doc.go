// Package nic is what is known beforehand about network adapters: which PCI
// ids are which product, which id its VFs have, and how the drivers differ.
//
// It is data with lookups. An adapter that is not in the table is never
// refused: the kernel itself says what it can do, and [Generic] behaviour is
// what every driver of the SR-IOV core has in common. The table serves names
// for people, ids of VFs that do not exist yet, and the order of steps.
// [ParsePort] reads what drivers call the ports of an eswitch.
//
// It imports only the standard library and knows none of its callers.
package nic

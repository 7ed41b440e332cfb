// Package attachment is what the CNI plugin keeps on disk: an [Attachment] for each
// pod's interface, written before the first change to the machine and with all that
// is needed to undo it; the allocation of each VF, which is the path of the
// network namespace that has it; and a lock for each VF. Places and formats are those of
// sriov-cni, so that either plugin can end what the other one began.
//
// It may import pkg/cni/fault, pkg/cni/netconf, the functions of pkg/sysfs that are
// pure, the types of pkg/nl and of containernetworking/cni. It never reads or changes a VF, and writes nothing
// outside of its directory. It follows no link there and waits for no FIFO.
package attachment

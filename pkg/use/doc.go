// Package use decides which devices are held, by whom, and how that is known.
//
// It is never a guess: a device is free, held, or unknown, and unknown counts
// as held. The rule, for one VF, in this order:
//
//  1. Kernel evidence of a holder: a network driver is bound but the netdev is
//     not in the host's network namespace; a process has the VF open through
//     vfio, or the kernel could not be asked (see VFIO); the host itself uses the
//     VF's interface (inventory.VF.HostUse): held. Of uio there is no such
//     evidence: any number of processes can open its devices.
//  2. The kubelet's pod-resources list names it: held by that container.
//  3. One of our own allocation notes names it, and the kubelet has not settled
//     the note (see Settle): held.
//  4. It is not known whether the host uses the VF's interface, because netlink
//     did not list all of its network (inventory.Snapshot.HostUnknown): unknown.
//  5. The kubelet answered in full: free.
//  6. The kubelet did not answer. If no kubelet has been seen during this boot
//     (no pod-resources answer, no pod-resources socket, no allocation note
//     of this boot), then no pod can have been admitted since the machine
//     started, and what the kernel does not show as held is free. This is the
//     early start: the service makes its VFs before the kubelet exists.
//  7. Otherwise: unknown. A kubelet that is restarting still has its pods.
//
// The package is pure data and that rule, with one exception: VFIO opens a vfio
// group for an instant, which is the only way to ask whether it is open. It
// imports only pkg/inventory, pkg/nic, pkg/sysfs and pkg/use/holder. Reading the kubelet's socket
// is pkg/use/podresources, so that programs which only compute plans do not link
// gRPC. It never writes anything.
package use

// Package use decides which devices are held, by whom, and how that is known.
//
// It is never a guess: a device is free, held, or unknown, and unknown counts
// as held. The rule, for one VF, in this order:
//
//  1. The kubelet's pod-resources list names it, as a device of a plugin or of a claim
//     that another driver serves: held by that container.
//  2. Kernel evidence of a holder: a network driver is bound but the netdev is
//     not in the host's network namespace; a process has the VF open through
//     vfio, or the kernel could not be asked (see VFIO); the host itself uses the
//     VF's interface (inventory.VF.HostUse): held. Of uio there is no such
//     evidence: any number of processes can open its devices.
//  3. An entry of the kubelet's checkpoint names it, and counts (see Kubelet.Entries):
//     held. So is what an ordinary init container has, which List leaves out.
//  4. One of our own allocation notes names it, and the kubelet has not settled
//     the note (see Settle): held.
//  5. It is not known whether the host uses the VF's interface, because netlink
//     did not list all of its network (inventory.Snapshot.HostUnknown): unknown.
//  6. The kubelet did not answer. If there is none now (nobody listens on its socket)
//     and none has been seen during this boot (no answer, no registration, no
//     allocation note of this boot), then no pod can have been admitted since the
//     machine started, and what the kernel does not show as held is free: the
//     checkpoint is of the boot before. This is the early start: the service makes its
//     VFs before the kubelet takes registrations.
//  7. Otherwise, without an answer: unknown. A kubelet that is restarting still has its
//     pods, and one that hangs gives them their devices without asking us.
//  8. The kubelet answered: free. But a kubelet that has just come up may not have its
//     pods yet. What they had is in its checkpoint, and every entry counts for Grace;
//     where the checkpoint cannot be read, what was given before (Evidence.Given) is
//     unknown for as long.
//
// # Devices that are no VFs
//
// A PF, a subfunction or another function is judged by 1, 3, 4, and 6 to 8, and by who
// has it open where that was asked. What the kernel shows of a VF says nothing of these:
// a PF has no interface while its driver starts, and the machine's network on it is the
// uplink guard's. With a silent kubelet such a device is free when no evidence names it
// and no pool of ours has or had it during this boot (Evidence.Offered), nor a pod
// before (Evidence.Given): nobody can have got it, and a change of a PF's MTU need not
// wait for a kubelet that restarts. When it is not known what was offered, any may have
// been.
//
// # When evidence ends, and how that is noticed
//
//	List             a pod ends: no event, List cannot be watched. It is asked at each
//	                 look, and every few seconds while a step waits or a note is not
//	                 confirmed.
//	claims           as List. A claim of an ordinary init container is not in it, and
//	                 nothing but the kernel shows its device. A driver that names devices
//	                 by anything but the PCI address is not understood.
//	checkpoint       the pod is no longer listed (by a kubelet that listed it before, or
//	                 that has had its time): as List. The file itself changes with
//	                 the next allocation on the node, which is no event of ours either;
//	                 it is read when it is another file than at the last look.
//	note             List: the pod was listed and is not any more, or was not listed
//	                 within Grace. Time does not end it, the next look does.
//	netdev away      the kernel moves the netdev back: an event.
//	vfio             a process closes the group: no event. It is tried again every few
//	                 seconds, for the devices that a step waits for.
//	host's network   an address, a route or a link goes: an event.
//	no kubelet       its socket appears, or it registers: an event of the directory.
//
// # What is not known
//
// A kubelet that restarts without its API server lists static pods only, for as long as
// that takes. All entries of the checkpoint count then (the UID of a pod shows whether it
// is of the API server); where the checkpoint cannot be read either, the notes go after
// Grace, and what the kernel shows is all that is left.
// Without a checkpoint that can be read, an init container's device that was given before
// a boot is free once the kubelet has been up for Grace. A kubelet that keeps its logs
// elsewhere than in /var/log/pods has entries without names: each counts until the
// kubelet writes the file again.
//
// The package is pure data and that rule, with one exception: VFIO opens a vfio
// group for an instant, which is the only way to ask whether it is open. It
// imports only pkg/inventory, pkg/nic, pkg/sysfs and pkg/use/holder. Reading the kubelet's
// socket is pkg/use/podresources and its checkpoint pkg/use/checkpoint, so that programs
// which only compute plans do not link gRPC. It never writes anything.
package use

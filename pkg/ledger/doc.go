// Package ledger is the one owner of who has a device: which devices are offered
// under which resource name, which of them the kubelet was given (notes), which of
// them a run is about to change (claims), and what the kubelet said last of who has
// them. A device is a VF, a PF or another function by its PCI address, or a
// subfunction by its name.
//
// Its doors, each of which takes effect whole and in one order:
//
//   - Offer is the loop's: what the pools offer now, and what of it is withdrawn.
//   - Claim is a run's, before it writes: from its return nobody is given the devices,
//     until it ends (End) and an observation that began after that has been turned into
//     an Offer.
//   - Note is Allocate's: it refuses what is not offered, withdrawn, claimed or held
//     under another resource name, and otherwise the devices count as held from its
//     return. Release is for an allocation that was refused after that.
//   - Ask and Learn bracket a question to the kubelet and the kernel. An answer says
//     nothing of what happened after the question: what Learn drops, and which claims
//     an Offer ends, is decided by when Ask was called.
//
// Whoever takes a device claims it, then asks who has it; whoever gives it out notes
// it. Both go through one lock, so one of the two sees the other: either the run finds
// the note, or Note finds the claim.
//
// The ledger calls nobody, waits for nobody, reads no clock and no file: it is safe to
// call from anywhere, and its callers hold no lock when they do. What of it outlives a
// restart (Books) its caller keeps on the disk.
//
// The doors are right only as they are used together: TestExplore goes through every order
// in which the steps of everybody around the ledger can come, and what it takes them to do
// is what callers must do.
//
// It may import pkg/inventory, pkg/pool and pkg/use.
package ledger

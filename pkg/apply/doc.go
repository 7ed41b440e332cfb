// Package apply runs the steps of a plan. Together with pkg/cni it is the only
// code that writes to the machine.
//
// PFs run in parallel and never wait for each other; the steps of one PF run in
// their order. A step whose need was not met is skipped, everything else on the
// PF runs anyway. Intent is journalled before the first write. Every write is
// bounded in time: one that the kernel does not answer is reported, stays known to
// the Applier, and nothing more is written to its PF, in this run or a later one,
// until the kernel has answered.
//
// It is one switch over the types of pkg/op, which carry all that a request needs.
//
// It may import pkg/op, pkg/plan, pkg/record and pkg/use (data), pkg/nic, pkg/sysfs,
// pkg/nl. It never decides what is right (pkg/plan does), never logs, never polls: what
// appears is awaited by events that a Hub brings.
package apply

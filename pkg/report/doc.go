// Package report turns what was observed and decided into the types of the status
// file: plan, use, pool and health values -> package status.
//
// It is the only place that does, so that the node and the workstation report a
// plan in the same way, and the only one that knows both sides: the deciding
// packages do not know the file, and package status does not know them. What a
// workstation needs again of a status (who holds which device) is read here too,
// beside what wrote it.
//
// It is pure: no clock, no log, no I/O. It may import the packages up to
// pkg/health and pkg/status, and not those that write to the machine or talk to
// the kubelet: sriovctl links it.
package report

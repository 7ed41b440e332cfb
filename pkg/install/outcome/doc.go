// Package outcome is how the installation of the CNI plugin can be: what the
// daemon finds and does, and what the status file, the metrics and sriovctl say
// of it.
//
// It imports nothing, so that a workstation of any kind can use it.
package outcome

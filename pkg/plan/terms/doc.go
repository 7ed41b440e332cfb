// Package terms has what a plan and the status file both say: how a step reads, whom it
// disturbs, and what a person has to know.
//
// It imports of the project only pkg/spec, for the places in the config, so that a
// workstation of any kind can use it. Values that it does not know are kept as they are:
// a file may be of a newer daemon.
package terms

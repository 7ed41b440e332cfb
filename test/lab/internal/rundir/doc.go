// Package rundir makes the directories of a run of the lab: another process finds the
// run by them while it is alive.
package rundir

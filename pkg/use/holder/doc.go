// Package holder is who has a device, and how that is known: what pkg/use finds, what
// the status file carries, and how texts and logs on either side name it.
//
// It imports nothing, so that a workstation of any kind can use it. Kinds of evidence
// that it does not know are kept as they are: a file may be of a newer daemon.
package holder

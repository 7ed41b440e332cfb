// Package lock lets one process at a time work on a machine.
//
// The lock is flock(2) on a file: the kernel gives it back whatever the end of its
// holder, and two processes with different files do not meet, so that tests can run
// several daemons at once. The file belongs on a tmpfs: a lock keeps its filesystem
// in use.
//
// It imports nothing of this project.
package lock

// Package box is a machine that shares the host's kernel: a tree of processes with
// process IDs and mounts of its own, whose power can be cut at any moment. What its
// programs mount, and every process that they leave behind, is gone with it, also when
// the program ends that has started it; what they write to the directories that it was
// given stays for its next boot. Network and cgroups are the host's.
//
// The first process of a box is the calling program again. Its main function, or the
// TestMain of a test, calls [Main] before anything else.
package box

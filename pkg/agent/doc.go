// Package agent is the loop of the daemon: something woke it, so it reads the world
// again, computes the whole plan, applies what is missing, offers what is there, and
// reports what came of it.
//
// It wires the packages below it. What it decides itself is in pure functions and
// types without I/O: which config is in force (decide.go), what a read must bring
// (needs.go), when failed work is due again (retry.go), and what counts as a change
// by somebody else (drift.go). One pass is observe (observe.go, compute.go), act
// (act.go) and publish (report.go); the runs on PFs go on beside the loop (run.go)
// and end with a message to it.
//
// Everything that wakes the loop is a task of its own under one errgroup. A node on
// which nothing is under way wakes the loop by one timer, the slow resync.
//
// It may import every package of the node; none of them imports it. It never writes
// to the hardware itself, and holds no lock over a call that may wait.
package agent

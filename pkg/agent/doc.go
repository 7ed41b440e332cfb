// Package agent is the loop of the daemon: something woke us, so read the world
// again, compute the whole plan, apply what is missing, offer what is there, say
// what came of it.
//
// It wires the packages below it and decides only two things, both in pure
// functions: which document is in force (decide.go), and how the outcome reads
// (report.go). Everything that wakes the loop is a task of its own under one
// errgroup. There is one timer in the steady state, the slow resync.
//
// It may import every package of the node; none of them imports it.
package agent

// Package decide is what the daemon makes of what it observed: Decide turns the
// configs, one observation and the memory of earlier ones into a decision and the next
// memory. It says which config is in force and which one governs each PF, what has to
// be done and whom that waits for, what may start now, which devices are withdrawn and
// why, what was changed by somebody else, and when to decide again although nothing
// happened.
//
// It is pure: same arguments, same result; no log, no clock but the observation's, no
// I/O, and nothing that it is given is changed. A lint rule holds it to that
// (.golangci.yml).
//
// What is known of a PF over time is one value with one phase (PF). Work that failed
// is due again at once when it became other work, and else after a pause that doubles.
//
// It may import the packages that decide or are data, and the types of pkg/apply and
// pkg/cni that say what came of a run.
package decide

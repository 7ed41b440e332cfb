// Package selection finds the physical functions that the entries of a config
// mean on one machine. It is the one place where spec.Match meets an inventory:
// the plan (what to do with a PF) and the pools (what to offer of it) must never
// disagree about which PF an entry is, nor about which of two configs governs a PF whose
// newest entry asks what the machine cannot give.
//
// It is a pure function of its arguments. It may import pkg/spec and
// pkg/inventory; it never reads the machine, never decides whether a finding is
// an error or a notice, and never writes messages: callers do.
package selection

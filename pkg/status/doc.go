// Package status is what the daemon says about itself: the status file's types,
// how it is written and read.
//
// The file is for people first (YAML, in the order in which one asks) and for
// sriovctl. It is written atomically and only when something changed. The
// package imports no other package of the project but spec and plan, whose
// positions and problems it carries, and it decides nothing.
package status

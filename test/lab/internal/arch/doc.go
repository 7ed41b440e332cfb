// Package arch names the processor architectures that a node of the lab can have, and
// what depends on nothing else.
package arch

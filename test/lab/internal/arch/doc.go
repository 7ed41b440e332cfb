// Package arch names the processor architectures that a guest of the lab can have, and
// what depends on nothing else.
package arch

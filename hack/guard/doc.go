// Package guard holds the tests that watch over the repository itself: in which
// direction the packages import each other, that each has a doc.go, that the
// documents name tests and files that exist, and in which words the code is
// written. Those that build binaries, for their size and for every workstation,
// have the build tag guard and run with make guard.
package guard

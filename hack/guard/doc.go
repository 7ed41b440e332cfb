// Package guard holds the tests that watch over the repository itself: what the
// node's binaries link and how large they are, in which direction the packages
// import each other, and that each has a doc.go.
package guard

// Package talostest is a Talos API for tests: a gRPC server built from the
// machinery's service definitions, with TLS, client certificates that carry
// roles, the roles that Talos asks for each call, and several nodes behind one
// endpoint. The file service of a node is backed by a directory, its resources by
// an in-memory COSI state.
//
// What it does is what Talos' own sources and the facts of its API say: listing
// resolves a link at the root and names the root ".", reading fails with words
// and no code, a call for a node that is not there is Unavailable.
//
// It is for tests, and may import every package.
package talostest

// Package metrics says figures in the Prometheus text format, over an HTTP
// server of its own.
//
// It has two parts. [Write] is pure: families of samples in, text out
// (exposition format 0.0.4). [Server] listens where it is told, and says so when
// it can not; net/http would add 1.7 MB to a daemon of 10 MB for two pages
// that need no more than a request line. The server is strict and bounded: a
// request has at most [MaxRequest] bytes and [Timeout] to come, [MaxConns] are
// served at a time, every answer ends its connection, and nothing that a client
// sends reaches further than the choice of the page.
//
// The package imports the standard library alone and knows nothing of SR-IOV;
// what is said is pkg/agent's.
package metrics

// Package metrics serves metrics in the Prometheus format, and a health page, over
// an HTTP server of its own that can be moved and turned off while it runs.
//
// What is served comes from a prometheus.Gatherer that the caller makes; nothing is
// registered here, and never in the client library's global registry. The server is
// bounded: a request has at most [MaxHeader] bytes of header and [Timeout] to come,
// [MaxConns] connections are served at a time, every response ends its connection,
// and nothing that a client sends reaches further than the choice of the page.
//
// The package imports the standard library, golang.org/x/net/netutil and the
// Prometheus client library, and knows nothing of SR-IOV.
package metrics

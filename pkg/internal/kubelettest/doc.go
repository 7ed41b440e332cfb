// Package kubelettest is a stand-in for the kubelet's device manager, for tests
// over real unix sockets: it serves Register, dials back, keeps the device list
// streams, and can be restarted, refuse, be slow, and drop what it holds. It has
// the kubelet's own races: when a stream ends it disconnects whatever endpoint
// it has for that resource at that moment.
//
// It is for tests only.
package kubelettest

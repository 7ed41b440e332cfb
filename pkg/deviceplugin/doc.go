// Package deviceplugin offers pools to the kubelet: one gRPC server on its own
// unix socket for each pool, wire-compatible with the SR-IOV network device
// plugin, registered again the moment the kubelet asks for it.
//
// A Manager owns the servers. Each server is level-triggered: whatever wakes it
// (an event in the socket folder, a lost stream, an update, Poke), it compares
// what is with what should be - our socket is there and is ours, the kubelet
// behind the kubelet.sock of this moment has our registration, a ListAndWatch
// stream is open - and does what is missing. There are no timers in the steady
// state.
//
// On the way it writes two kinds of files below the host's /run: device-info,
// which stays as long as the pod that was given the device, and, where that is
// switched on, CDI.
//
// It may import pkg/pool. It never decides which devices are in a pool or fit
// for use, never touches a device, and never removes a file in the kubelet's
// folder other than its own sockets, nor elsewhere a file of another's name.
package deviceplugin

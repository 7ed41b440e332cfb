// Package deviceplugin offers pools to the kubelet: one gRPC server on its own
// unix socket for each pool, wire-compatible with the SR-IOV network device
// plugin, registered again the moment the kubelet asks for it.
//
// The sockets are in a directory of ours below /run; the kubelet's directory has
// symbolic links to them, because a socket would keep the filesystem below /var
// busy. The name of a socket and of a link is used once.
//
// A Manager owns the servers. Each server is level-triggered: whatever wakes it
// (an event in a directory, a lost stream, an update, Poke), it compares what is
// with what should be - our socket listens, the link leads to it, the kubelet
// behind the kubelet.sock of this moment has our registration, a ListAndWatch
// stream is open - and does what is missing. There are no timers in the steady
// state.
//
// A server has three parts that know nothing of each other: a shelf (the pool that is
// offered), a place (the socket and the link) and a registration, which is a value:
//
//	kubelet.sock appears -> asking
//	asking   -> accepted         -> a stream opens: registered
//	asking   -> refused, silent  -> asking, after a delay
//	asking   -> void, overtaken  -> lost: the answer comes too late
//	accepted -> lost             -> asking: the stream or our socket is gone
//
// What happens makes the next value (registration.go), what is done about it is decided
// from the value (decide.go), and a registrar does it: it calls Register (direct.go),
// or lets the kubelet's plugin watcher find the link (watched.go). Of kubelets and of
// allocations a Ledger hears (ledger.go).
//
// On the way it writes two kinds of files below the host's /run: device-info,
// which stays as long as the pod that was given the device, and, where that is
// switched on, CDI.
//
// It may import pkg/pool, pkg/spec and pkg/pci (what a resource and an address are
// called), pkg/internal/dirwatch and pkg/internal/fileid. It never decides which
// devices are in a pool or healthy, never touches a device, never leaves anything
// open below /var, and never removes a file in the kubelet's directory other than
// its own links and a dead socket of a plugin for the same resource, nor elsewhere a
// file of another's name.
package deviceplugin

// Package wire is the protocol between the host and the guest's PID 1: frames
// of many concurrent streams over one virtio-serial port. It is shared by both
// sides, knows nothing of what the requests mean to either, and does no I/O
// beyond the reader and writer it is given.
//
// A virtio-serial port is one byte stream without a notion of a connection, so
// a session starts with a Hello that carries a nonce. The host drops everything
// until it reads the answer to its own nonce, which makes it immune to what an
// earlier session left in the port.
package wire

// Package agentd is the guest's end of the connection to the host: it reads requests
// from virtio-serial ports, hands them to its owner and sends the answers.
package agentd

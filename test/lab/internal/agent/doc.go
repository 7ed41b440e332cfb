// Package agent is the host's end of the connection to the guest's PID 1.
package agent

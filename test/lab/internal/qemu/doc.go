// Package qemu runs one virtual machine: the command line (a pure function of
// the machine's description), the process, and its monitor.
package qemu

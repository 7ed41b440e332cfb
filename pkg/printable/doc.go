// Package printable keeps control characters out of what is printed for people.
//
// The kernel takes nearly every byte in an interface name, so a name can hold an
// escape sequence that moves the cursor or rewrites what a terminal shows. Writers
// for people go through here, once, instead of every place that prints a name.
//
// It imports only the standard library. It never prints.
package printable

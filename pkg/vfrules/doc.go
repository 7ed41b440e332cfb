// Package vfrules is what the attributes of a VF may be: the limits of the
// kernel and of IEEE 802.1Q, each with the one text that says so. The user's
// config, the CNI configuration and the description of a network have the same
// attributes under other keys, and are all checked here.
//
// It imports only the standard library. It knows no key, no file format and no
// machine: callers say which key a [Problem] is about.
package vfrules

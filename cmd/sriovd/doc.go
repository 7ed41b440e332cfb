// Command sriovd is the daemon of the Talos extension "sriov": it makes and
// configures Virtual Functions as a document says, and offers them to pods
// through the kubelet's device plugin API.
//
// What people ask of a node, and of a document before it is applied, is sriovctl's: a
// Talos node has no shell.
//
// This package is wiring only: flags, signals, output. Every path is a flag with
// the value that is right on Talos as its default, so that the same binary runs
// on any Linux host.
package main

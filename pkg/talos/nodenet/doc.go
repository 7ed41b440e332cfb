// Package nodenet says which interfaces of a node the node's own machine config
// selects: those that are there, and those that VFs will bring.
//
// Talos applies an entry or document with a selector to every link that matches
// it, at any time. VFs that are made later are links like others: they can get the
// node's address, become ports of its bond, or make an alias ambiguous. So the
// selectors are evaluated beforehand, by Talos' rules, against the VFs to be.
//
// Everything here is a pure function of the documents and of what is known of the
// links. Documents are YAML trees: kinds and keys that are newer than this program
// are carried through, and a selector that cannot be evaluated may match.
//
// It may import pkg/machineconfig, the Talos machinery and cel-go.
package nodenet

// Package machineconfig reads and merges Talos machine configs as YAML text.
//
// A machine config belongs to Talos and to its version: a node may have kinds of
// documents and keys that this program was built too early to know. So a config
// is never decoded into Talos' types here. It is split into its documents, and
// each document is a YAML tree whose bytes are kept.
//
// It imports the standard library and gopkg.in/yaml.v3, nothing else of this
// module and nothing of Talos, so that it can be tested against the machinery of
// any Talos version.
package machineconfig

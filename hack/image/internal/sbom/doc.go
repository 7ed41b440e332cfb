// Package sbom writes the extension's software bill of materials: which Go
// modules are linked into its binaries, read from the binaries themselves, each
// with version, checksum and licence, as SPDX 2.3 JSON.
//
// It may import the standard library. It never guesses a licence: text that it
// does not know is NOASSERTION, and a test of the real binaries fails on it.
package sbom

// Package consttest reads the constants of a type out of the source that declares
// them, for tests that have to meet every one. Tests alone import it.
package consttest

// Package recordtest draws records and runs of all shapes for property tests. It
// imports pkg/record, and tests alone import it.
package recordtest

// Package promtest reads the Prometheus text format (0.0.4) as strictly as its
// description has it, for tests of what writes it.
package promtest

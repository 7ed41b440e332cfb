// Package proc starts the lab's host processes so that none outlives the
// program that started it, whatever ends that program.
package proc

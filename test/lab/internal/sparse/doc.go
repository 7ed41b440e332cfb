// Package sparse copies disks, which are mostly holes.
package sparse

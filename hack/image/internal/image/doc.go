// Package image makes the extension's OCI image from files, without a container
// engine: one layer for each architecture, with exactly /manifest.yaml and
// /rootfs, which is all that Talos' loader accepts (machinery, extensions.Load).
//
// The same input gives the same bytes, whoever builds where and when: entries
// are sorted, times are fixed, and nothing of the machine is recorded.
//
// It may import go-containerregistry and the standard library. It never runs a
// program and never reads anything but the files it was given.
package image

// Package artifact makes everything that the lab runs, from pinned sources, and
// keeps it under _out/lab: host programs, the guest's kernel, initramfs, root
// image and extension image. A step is run when its inputs are not those of the
// last time; a second build does nothing and prints nothing.
package artifact

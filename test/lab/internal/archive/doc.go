// Package archive writes the two archive formats that the lab needs and that
// must come out the same for the same input: the kernel's initramfs (newc cpio)
// and image archives that containerd imports.
package archive

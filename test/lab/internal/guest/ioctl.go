package guest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl is for requests that x/sys/unix has no function for.
func ioctl(fd int, req uint, arg []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(unsafe.Pointer(&arg[0]))); errno != 0 {
		return errno
	}
	return nil
}

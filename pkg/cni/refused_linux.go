package cni

import (
	"errors"

	"golang.org/x/sys/unix"
)

// refused reports whether a driver refused a MAC: igb answers EADDRNOTAVAIL
// for one that the PF has fixed, others differ.
func refused(err error) bool {
	if _, ok := errors.AsType[*trustError](err); ok {
		return false
	}
	for _, errno := range []error{unix.EADDRNOTAVAIL, unix.EPERM, unix.EACCES, unix.EINVAL, unix.EOPNOTSUPP} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

package cni

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// refused reports whether a driver refused a MAC: igb answers EADDRNOTAVAIL
// for one that the PF has fixed, others differ.
func refused(err error) bool {
	if errors.Is(err, errTrust) || errors.Is(err, errDistrust) {
		return false
	}
	refusals := []error{unix.EADDRNOTAVAIL, unix.EPERM, unix.EACCES, unix.EINVAL, unix.EOPNOTSUPP}
	return slices.ContainsFunc(refusals, func(errno error) bool { return errors.Is(err, errno) })
}

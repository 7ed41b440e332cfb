package sysfs

import (
	"strconv"
	"strings"
)

// VirtFnIndex is the index of the VF to which a PF's entry leads, false when the
// entry is none of these links.
func VirtFnIndex(entry string) (int, bool) {
	digits, ok := strings.CutPrefix(entry, PrefixVirtFn)
	if !ok {
		return 0, false
	}
	index, err := strconv.ParseUint(digits, 10, 31)
	return int(index), err == nil
}

package nl

import (
	"encoding/binary"
	"errors"
	"iter"
)

// errShort is what a message gives that ends before what it announces.
var errShort = errors.New("netlink message is shorter than it says")

// nestedMask takes NLA_F_NESTED and NLA_F_NET_BYTEORDER off an attribute type.
const nestedMask = 0x3fff

// attrs walks the attributes in b. It stops at the first malformed one: the
// kernel makes none, and what precedes it stays usable.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.NativeEndian.Uint16(b))
			typ := binary.NativeEndian.Uint16(b[2:]) & nestedMask
			if n < 4 || n > len(b) {
				return
			}
			if !yield(typ, b[4:n:n]) {
				return
			}
			n = (n + 3) &^ 3
			if n > len(b) {
				return
			}
			b = b[n:]
		}
	}
}

// str is a string attribute, with or without its terminating zero.
func str(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// u32 and friends read a number, 0 when the attribute is too short for one.
func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func u16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(b)
}

func u64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}

func u8(b []byte) uint8 {
	if len(b) < 1 {
		return 0
	}
	return b[0]
}

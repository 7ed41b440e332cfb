package nl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is what decoding a message gives that does not have the form that
// the kernel's headers describe: it, or an attribute in it, ends before its length
// does, or a value has a length that its type does not have. What was decoded before
// it is not to be used.
var ErrMalformed = errors.New("malformed netlink message")

// nestedMask takes NLA_F_NESTED and NLA_F_NET_BYTEORDER off an attribute type.
const nestedMask = 0x3fff

const attrHeader = 4 // struct nlattr: length, type

// decoder walks the attributes of a message, or those that are nested in one:
//
//	for d.next() {
//		switch d.typ {
//		case unix.IFLA_MTU:
//			mtu = d.u32()
//		}
//	}
//	return d.err
//
// The first malformed attribute ends the walk. From then on next is false, each value
// is zero, and err says which attribute it was and what is wrong with it.
type decoder struct {
	rest []byte // what follows the current attribute
	typ  uint16 // of the current attribute, without flags
	data []byte // the current attribute's payload, not copied
	err  error
}

func decode(b []byte) *decoder { return &decoder{rest: b} }

// decodeAfter is a decoder for the attributes behind a message's fixed part.
func decodeAfter(b []byte, fixed int) *decoder {
	if len(b) < fixed {
		return &decoder{err: fmt.Errorf("it has %d bytes, and its fixed part %d: %w", len(b), fixed, ErrMalformed)}
	}
	return decode(b[fixed:])
}

// next takes the next attribute and reports whether there is one.
func (d *decoder) next() bool {
	if d.err != nil || len(d.rest) == 0 {
		return false
	}
	if len(d.rest) < attrHeader {
		d.err = fmt.Errorf("%d bytes follow attribute %d: %w", len(d.rest), d.typ, ErrMalformed)
		return false
	}
	n := int(binary.NativeEndian.Uint16(d.rest))
	d.typ = binary.NativeEndian.Uint16(d.rest[2:]) & nestedMask
	if n < attrHeader || n > len(d.rest) {
		d.err = fmt.Errorf("attribute %d has the length %d, where %d bytes are left: %w", d.typ, n, len(d.rest), ErrMalformed)
		return false
	}
	d.data = d.rest[attrHeader:n:n]
	d.rest = d.rest[min(align(n), len(d.rest)):]
	return true
}

// align is NLA_ALIGN: attributes, next hops and messages begin at multiples of 4.
func align(n int) int { return (n + 3) &^ 3 }

// fixed is the current attribute's payload when it has exactly n bytes, n zero bytes
// and an error when it has not.
func (d *decoder) fixed(n int) []byte {
	if d.err == nil && len(d.data) != n {
		d.err = fmt.Errorf("attribute %d has %d bytes of data instead of %d: %w", d.typ, len(d.data), n, ErrMalformed)
	}
	if d.err != nil {
		return make([]byte, n)
	}
	return d.data
}

// structure is the current attribute's payload when it has at least the n bytes of a
// structure, which the kernel may lengthen at its end.
func (d *decoder) structure(n int) []byte {
	if d.err == nil && len(d.data) < n {
		d.err = fmt.Errorf("attribute %d has %d bytes of data, fewer than %d: %w", d.typ, len(d.data), n, ErrMalformed)
	}
	if d.err != nil {
		return make([]byte, n)
	}
	return d.data
}

func (d *decoder) u8() uint8   { return d.fixed(1)[0] }
func (d *decoder) u16() uint16 { return binary.NativeEndian.Uint16(d.fixed(2)) }
func (d *decoder) u32() uint32 { return binary.NativeEndian.Uint32(d.fixed(4)) }

// str is a string, with or without its terminating zero.
func (d *decoder) str() string {
	if d.err != nil {
		return ""
	}
	return str(d.data)
}

// bytes is a copy of the payload.
func (d *decoder) bytes() []byte {
	if d.err != nil {
		return nil
	}
	return append([]byte(nil), d.data...)
}

// nested calls f for each attribute inside the current one. An error in there is one
// of the outer attribute too.
func (d *decoder) nested(f func(in *decoder)) {
	if d.err != nil {
		return
	}
	in := decode(d.data)
	for in.next() {
		f(in)
	}
	if in.err != nil {
		d.err = fmt.Errorf("in attribute %d: %w", d.typ, in.err)
	}
}

// fail ends the walk with what is wrong with the current attribute.
func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("attribute %d %s: %w", d.typ, fmt.Sprintf(format, args...), ErrMalformed)
	}
}

// str is a string in bytes, up to its terminating zero when it has one.
func str(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

// u32 and u16 read a number of a structure whose length was checked.
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }

package nl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// decodeVFs decodes the VF list of RTM_NEWLINK. The kernel gives each MAC in 32
// bytes; how many count depends on the PF's own address.
//
// The list of VFs is one attribute, and the length of an attribute has 16 bits. The
// kernel lets it wrap (nla_nest_end in include/net/netlink.h) when the list is
// longer: 256 VFs of 296 bytes each are. The list itself is whole, and IFLA_NUM_VF
// before it says how many VFs there are, so it is read on until the length is right
// again. What does not come out even is an error: not known, not "no VFs".
func decodeVFs(b []byte) ([]VFInfo, error) {
	d := decodeAfter(b, unix.SizeofIfInfomsg)
	macLen, count := 6, 0
	for !d.atVFList() && d.next() {
		switch d.typ {
		case unix.IFLA_ADDRESS:
			macLen = len(d.data)
		case unix.IFLA_NUM_VF:
			count = int(d.u32())
		}
	}
	if d.err != nil || len(d.rest) == 0 {
		return nil, d.err
	}
	return vfList(d.rest, int(u16(d.rest)), count, macLen)
}

// atVFList reports whether the list of VFs comes next, whatever length it has.
func (d *decoder) atVFList() bool {
	return d.err == nil && len(d.rest) >= attrHeader && u16(d.rest[2:])&nestedMask == unix.IFLA_VFINFO_LIST
}

// vfList reads the list that b begins with. size is the length in its header, modulo
// 64 KiB, and count the number of VFs, 0 when that is not known.
func vfList(b []byte, size, count, macLen int) ([]VFInfo, error) {
	const wrap = 1 << 16
	var vfs []VFInfo
	for at := attrHeader; ; {
		n, isVF := 0, false
		if len(b)-at >= attrHeader {
			n, isVF = int(u16(b[at:])), u16(b[at+2:])&nestedMask == unix.IFLA_VF_INFO
		}
		whole := n >= attrHeader && n <= len(b)-at
		switch missing := count > len(vfs); {
		case at == size && !(missing && isVF && whole):
			return vfs, nil // some drivers report nothing of some of their VFs
		case at >= wrap && at%wrap == size && !missing:
			return vfs, nil
		case !whole, at > size && !(missing && isVF):
			return nil, fmt.Errorf("the list of VFs has the length %d and does not end there, and has %d of %d VFs: %w", size, len(vfs), count, ErrMalformed)
		}
		if isVF {
			vf, err := decodeVF(b[at+attrHeader:at+n], macLen)
			if err != nil {
				return nil, err
			}
			vfs = append(vfs, vf)
		}
		at = min(at+align(n), len(b))
	}
}

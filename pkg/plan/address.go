package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"net"
)

// StableMAC derives the MAC address of a VF from its PF's permanent one, so
// that it is the same after every boot and reinstall:
//
//	byte 0, 1   14 bits of SHA-256 over the PF's vendor prefix (3 bytes) and
//	            index/256, with the bits of a locally administered unicast
//	            address
//	byte 2      index modulo 256
//	byte 3-5    the PF's serial part, unchanged
//
// Two PFs of one vendor prefix never share an address below index 256; PFs of
// different vendors do only when their serial parts are equal and the 14 bits
// meet. It returns nil when pf is no 6-byte address.
func StableMAC(pf net.HardwareAddr, index int) net.HardwareAddr {
	if len(pf) != 6 {
		return nil
	}
	seed := append([]byte(nil), pf[:3]...)
	seed = binary.BigEndian.AppendUint32(seed, uint32(index>>8))
	h := sha256.Sum256(seed)
	return net.HardwareAddr{h[0]&^0x03 | 0x02, h[1], byte(index), pf[3], pf[4], pf[5]}
}

// StableGUID derives the GUID of an InfiniBand VF from its PF's hardware
// address (20 bytes, of which the last 8 are the port GUID): the PF's GUID with
// the local bit set and index+1 added into bytes 3 and 4, which vendors fill
// with a constant. It returns nil when pf is no InfiniBand address.
func StableGUID(pf net.HardwareAddr, index int) net.HardwareAddr {
	if len(pf) != 20 {
		return nil
	}
	g := append(net.HardwareAddr(nil), pf[12:]...)
	g[0] |= 0x02
	binary.BigEndian.PutUint16(g[3:], binary.BigEndian.Uint16(g[3:])+uint16(index)+1)
	return g
}

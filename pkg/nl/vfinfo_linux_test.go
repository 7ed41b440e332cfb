package nl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vfMessage is an RTM_NEWLINK with n VFs of size bytes each, as the kernel makes it:
// the length of the list wraps at 64 KiB. numVF is what IFLA_NUM_VF says.
func vfMessage(n, size, numVF int) []byte {
	var list []byte
	for i := range n {
		mac := attr(unix.IFLA_VF_MAC, num(uint32(i)), []byte{2, 0, 0, 0, byte(i >> 8), byte(i)}, make([]byte, 26))
		vlan := attr(unix.IFLA_VF_VLAN, num(uint32(i)), num(uint32(i%4095)), num(0))
		fill := attr(8, make([]byte, size-4-len(mac)-len(vlan)-4)) // IFLA_VF_STATS
		list = append(list, attr(unix.IFLA_VF_INFO, mac, vlan, fill)...)
	}
	head := binary.NativeEndian.AppendUint16(nil, uint16(4+len(list)))
	head = binary.NativeEndian.AppendUint16(head, unix.IFLA_VFINFO_LIST)
	return cat(ifinfo(1, 3, 0), attr(unix.IFLA_ADDRESS, hw("b8:3f:d2:00:00:01")), attr(unix.IFLA_NUM_VF, num(uint32(numVF))),
		head, list, attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("x"))), attr(unix.IFLA_AF_SPEC, make([]byte, 300)))
}

// TestManyVFs: the attributes of all VFs are read however long the list is; 296 bytes
// are what a VF has with all that kernels report.
func TestManyVFs(t *testing.T) {
	for _, size := range []int{124, 196, 256, 296} {
		for _, n := range []int{0, 1, 220, 221, 222, 255, 256, 257, 443, 512, 1024} {
			t.Run(fmt.Sprintf("%d of %d bytes", n, size), func(t *testing.T) {
				vfs, err := decodeVFs(vfMessage(n, size, n))
				if err != nil || len(vfs) != n {
					t.Fatalf("%d VFs, %v", len(vfs), err)
				}
				for i, vf := range vfs {
					if vf.Index != i || vf.VLAN != i%4095 || vf.MAC[4] != byte(i>>8) || vf.MAC[5] != byte(i) {
						t.Fatalf("VF %d: %+v", i, vf)
					}
				}
			})
		}
	}
}

// TestVFListThatDoesNotComeOutEven is not known, and never a shorter list.
func TestVFListThatDoesNotComeOutEven(t *testing.T) {
	for name, b := range map[string][]byte{
		"wrapped, the number of VFs not given": vfMessage(256, 296, 0),
		"wrapped, fewer VFs than given":        vfMessage(256, 296, 300),
		"wrapped, more VFs than given":         vfMessage(256, 296, 250),
		"cut":                                  vfMessage(4, 296, 4)[:700],
		"cut behind a wrap":                    vfMessage(256, 296, 256)[:70000],
	} {
		if vfs, err := decodeVFs(b); !errors.Is(err, ErrMalformed) || vfs != nil {
			t.Errorf("%s: %d VFs, %v", name, len(vfs), err)
		}
	}
	if vfs, err := decodeVFs(vfMessage(3, 296, 4)); err != nil || len(vfs) != 3 {
		t.Errorf("a driver that reports nothing of one VF: %d VFs, %v", len(vfs), err)
	}
}

// TestLongMessage: an answer of the kernel of more than 64 KiB is read whole. An
// interface with hundreds of names has one.
func TestLongMessage(t *testing.T) {
	ctx := t.Context()
	inNamespace(t, func(h *Handle) {
		if err := add(ctx, h, unix.RTM_NEWLINK, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("many")), kind("bridge")); err != nil {
			t.Error(err)
			return
		}
		names, rest := 0, 600
		for ; rest > 0; rest-- {
			list := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
			list.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(fmt.Sprintf("%0126d", rest)))
			req := linkRequest(unix.RTM_NEWLINKPROP, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_APPEND, LinkRef{Name: "many"})
			req.AddData(list)
			if err := h.do(ctx, unix.NETLINK_ROUTE, req, nil); err != nil {
				break // the kernel's limit of the list
			}
			names++
		}
		l, err := h.Link(ctx, LinkRef{Name: "many"})
		if err != nil || len(l.AltNames) != names || names < 400 {
			t.Errorf("%d of %d names, %v", len(l.AltNames), names, err)
		}
		links, err := h.Links(ctx)
		if err != nil || len(links) < 2 {
			t.Errorf("%d links, %v", len(links), err)
		}
	})
}

package cni

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"

	cni100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/talos-sriov/talos-sriov/pkg/nl"
)

// announce reports to the network where the addresses are now: the last holder of
// one may have had another MAC. It is a courtesy; no error of it counts.
func (p *Plugin) announce(ctx context.Context, pod NS, link nl.Link, r *cni100.Result) {
	const tries, between = 20, 10 * time.Millisecond
	for range tries { // a frame before the carrier is lost
		l, err := pod.Link(ctx, nl.LinkRef{Index: link.Index})
		if err != nil || l.Carrier || p.pause(ctx, between) != nil {
			break
		}
	}
	for _, ip := range r.IPs {
		prefix, err := toPrefix(ip.Address)
		if err != nil || len(link.MAC) != 6 {
			continue
		}
		if err := pod.Send(ctx, link.Index, announcement(link.MAC, prefix.Addr())); err != nil {
			p.Log.Debug("address not announced", "address", prefix, "err", err)
		}
	}
}

// announcement is the Ethernet frame that announces who has the address: an ARP
// request for oneself (RFC 5227 section 3) or an unsolicited neighbour
// advertisement to all nodes (RFC 4861 section 7.2.6).
func announcement(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		return garp(mac, addr.As4())
	}
	return advertisement(mac, addr.As16())
}

func garp(mac net.HardwareAddr, ip [4]byte) []byte {
	broadcast := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	arp := []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1} // EtherType, request for IPv4 on Ethernet
	return slices.Concat(broadcast, mac, arp, mac, ip[:], broadcast, ip[:])
}

func advertisement(mac net.HardwareAddr, ip [16]byte) []byte {
	all := netip.MustParseAddr("ff02::1").As16()
	override := []byte{136, 0, 0, 0, 0x20, 0, 0, 0}
	icmp := slices.Concat(override, ip[:], []byte{2, 1}, mac) // with the target link-layer address
	n := byte(len(icmp))
	pseudo := slices.Concat(ip[:], all[:], []byte{0, 0, 0, n, 0, 0, 0, 58}, icmp)
	binary.BigEndian.PutUint16(icmp[2:], checksum(pseudo))
	to, ipv6 := []byte{0x33, 0x33, 0, 0, 0, 1}, []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, n, 58, 255}
	return slices.Concat(to, mac, ipv6, ip[:], all[:], icmp)
}

// checksum is RFC 1071's, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

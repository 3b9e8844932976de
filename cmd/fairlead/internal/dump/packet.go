// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// segment is the TCP segment of a packet.
type segment struct {
	from, to  netip.AddrPort
	ack       uint32
	syn, acks bool
	fin, rst  bool
	piece     // seq is that of the first byte of data, behind the SYN
}

// verdicts over a packet that holds no segment.
type skipping uint8

const (
	taken skipping = iota
	notTCP
	fragment
	damaged
	unknownLink
)

// The link types that gopacket has no name for.
const (
	linkRawBSD     layers.LinkType = 12
	linkRawOpenBSD layers.LinkType = 14
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	protoTCP  = 6
)

// parsePacket finds the TCP segment in a captured packet. Its data points into
// the packet.
func parsePacket(link layers.LinkType, data []byte) (segment, skipping) {
	ether, skip := 0, 0
	switch link {
	case layers.LinkTypeEthernet:
		return parseEther(data, 12)
	case layers.LinkTypeLinuxSLL:
		return parseEther(data, 14)
	case layers.LinkTypeLinuxSLL2:
		if len(data) < 20 {
			return segment{}, damaged
		}
		ether, skip = int(binary.BigEndian.Uint16(data)), 20
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		skip = 4 // the family, in whatever order of bytes; the IP header says it too
	case layers.LinkTypeRaw, linkRawBSD, linkRawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
	default:
		return segment{}, unknownLink
	}
	if len(data) < skip {
		return segment{}, damaged
	}
	if ether != 0 && ether != etherIPv4 && ether != etherIPv6 {
		return segment{}, notTCP
	}
	return parseIP(data[skip:])
}

// parseEther reads on from the type that stands at a place of the packet, over
// VLAN tags.
func parseEther(data []byte, at int) (segment, skipping) {
	for range 4 {
		if len(data) < at+2 {
			return segment{}, damaged
		}
		switch binary.BigEndian.Uint16(data[at:]) {
		case etherIPv4, etherIPv6:
			return parseIP(data[at+2:])
		case 0x8100, 0x88a8, 0x9100:
			at += 4
		default:
			return segment{}, notTCP
		}
	}
	return segment{}, notTCP
}

func parseIP(data []byte) (segment, skipping) {
	if len(data) == 0 {
		return segment{}, damaged
	}
	switch data[0] >> 4 {
	case 4:
		return parseIPv4(data)
	case 6:
		return parseIPv6(data)
	default:
		return segment{}, notTCP
	}
}

func parseIPv4(data []byte) (segment, skipping) {
	if len(data) < 20 {
		return segment{}, damaged
	}
	header, total := 4*int(data[0]&0x0f), int(binary.BigEndian.Uint16(data[2:]))
	if total == 0 {
		total = len(data) // the network card cuts it into packets
	}
	switch {
	case header < 20 || header > len(data) || total < header:
		return segment{}, damaged
	case data[9] != protoTCP:
		return segment{}, notTCP
	case binary.BigEndian.Uint16(data[6:])&0x3fff != 0:
		return segment{}, fragment
	}
	from, to := netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
	return parseTCP(from, to, data[header:min(total, len(data))], total-header)
}

func parseIPv6(data []byte) (segment, skipping) {
	if len(data) < 40 {
		return segment{}, damaged
	}
	from, to := netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40]))
	next, size := data[6], int(binary.BigEndian.Uint16(data[4:]))
	data = data[40:]
	if size == 0 {
		size = len(data)
	}
	for range 8 {
		var n int
		switch next {
		case protoTCP:
			return parseTCP(from, to, data[:min(size, len(data))], size)
		case 0, 43, 60: // hop by hop, routing, destination options
			if len(data) > 1 {
				n = 8 + 8*int(data[1])
			}
		case 44:
			return segment{}, fragment
		default:
			return segment{}, notTCP
		}
		if n == 0 || n > len(data) || n > size {
			return segment{}, damaged
		}
		next, data, size = data[0], data[n:], size-n
	}
	return segment{}, notTCP
}

// parseTCP reads a segment of size bytes, of which data was captured.
func parseTCP(from, to netip.Addr, data []byte, size int) (segment, skipping) {
	if len(data) < 20 {
		return segment{}, damaged
	}
	header := 4 * int(data[12]>>4)
	if header < 20 || header > len(data) {
		return segment{}, damaged
	}
	flags := data[13]
	s := segment{
		from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(data)), to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(data[2:])),
		ack: binary.BigEndian.Uint32(data[8:]),
		fin: flags&0x01 != 0, syn: flags&0x02 != 0, rst: flags&0x04 != 0, acks: flags&0x10 != 0,
	}
	s.piece = piece{seq: binary.BigEndian.Uint32(data[4:]), data: data[header:], cut: size - len(data)}
	if s.syn {
		s.seq++
	}
	return s, taken
}

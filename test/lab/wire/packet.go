package wire

import (
	"encoding/binary"
	"net/netip"
)

// packet is one IPv4 packet. Whatever else a host sends is not carried.
type packet []byte

// Offsets in the headers.
const (
	ipHeader  = 20
	tcpHeader = 20

	protocolICMP = 1
	protocolTCP  = 6

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

func (p packet) valid() bool {
	return len(p) >= ipHeader && p[0]>>4 == 4 && p.options() >= ipHeader && len(p) >= p.options()
}

// options is where the IP header ends.
func (p packet) options() int { return int(p[0]&0xf) * 4 }

func (p packet) to() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }

// tcp returns the segment in p, nil if p does not begin one.
func (p packet) tcp() []byte {
	fragment := binary.BigEndian.Uint16(p[6:]) & 0x1fff
	if p[9] != protocolTCP || fragment != 0 || len(p) < p.options()+tcpHeader {
		return nil
	}
	return p[p.options():]
}

// port reports whether p is TCP from or to a port.
func (p packet) port(n uint16) bool {
	t := p.tcp()
	return t != nil && (binary.BigEndian.Uint16(t) == n || binary.BigEndian.Uint16(t[2:]) == n)
}

// opening reports whether p requests a connection.
func (p packet) opening() bool {
	t := p.tcp()
	return t != nil && t[13]&(flagSYN|flagACK) == flagSYN
}

// answer begins a packet back to the sender of p, with room for the data after the IP
// header.
func (p packet) answer(protocol byte, size int) packet {
	a := make(packet, ipHeader+size)
	a[0] = 4<<4 | ipHeader/4
	binary.BigEndian.PutUint16(a[2:], uint16(len(a)))
	a[8], a[9] = 64, protocol
	copy(a[12:16], p[16:20])
	copy(a[16:20], p[12:16])
	binary.BigEndian.PutUint16(a[10:], checksum(0, a[:ipHeader]))
	return a
}

// unreachable returns the answer of a router that has no route to the destination of p (RFC
// 792): a header and the beginning of p.
func (p packet) unreachable() packet {
	const header, hostUnreachable = 8, 3<<8 | 1
	quoted := p[:min(len(p), p.options()+8)&^1]
	a := p.answer(protocolICMP, header+len(quoted))
	icmp := a[ipHeader:]
	binary.BigEndian.PutUint16(icmp, hostUnreachable)
	copy(icmp[header:], quoted)
	binary.BigEndian.PutUint16(icmp[2:], checksum(0, icmp))
	return a
}

// reset returns the answer to a segment of an unknown connection (RFC 9293, 3.5.2).
func (p packet) reset() (packet, bool) {
	t := p.tcp()
	if t == nil || t[13]&flagRST != 0 {
		return nil, false
	}
	answer := p.answer(protocolTCP, tcpHeader)
	a := answer[ipHeader:]
	copy(a[0:2], t[2:4])
	copy(a[2:4], t[0:2])
	a[12] = tcpHeader / 4 << 4
	if t[13]&flagACK != 0 {
		a[13] = flagRST
		copy(a[4:8], t[8:12])
	} else {
		a[13] = flagRST | flagACK
		length := uint32(len(t) - int(t[12]>>4)*4)
		if t[13]&(flagSYN|flagFIN) != 0 {
			length++
		}
		binary.BigEndian.PutUint32(a[8:], binary.BigEndian.Uint32(t[4:])+length)
	}
	pseudo := uint32(protocolTCP + tcpHeader)
	for i := 12; i < ipHeader; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(answer[i:]))
	}
	binary.BigEndian.PutUint16(a[16:], checksum(pseudo, a))
	return answer, true
}

// checksum is the Internet checksum of an even number of bytes.
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

package netconf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// Messages and options of DHCP (RFC 2131, RFC 2132, RFC 3442).
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpAck      = 5
	dhcpNak      = 6

	optionMask      = 1
	optionRouter    = 3
	optionMTU       = 26
	optionRequested = 50
	optionOverload  = 52
	optionType      = 53
	optionServer    = 54
	optionWanted    = 55
	optionRoutes    = 121
	optionEnd       = 255
)

const (
	bootpLen  = 240 // up to and with the magic cookie
	cookie    = 0x63825363
	maxRoutes = 32 // of one answer
)

var be, ne = binary.BigEndian, binary.NativeEndian

// answer is a message of a DHCP server.
type answer struct {
	kind    byte // dhcpOffer, dhcpAck or dhcpNak
	address netip.Addr
	bits    int // length of the network's prefix
	server  netip.Addr
	mtu     int // bytes; 0 if not given
	routes  []netplan.Route
}

func (a *answer) prefix() netip.Prefix { return netip.PrefixFrom(a.address, a.bits) }

// lease gets an address from a DHCP server: discover, offer, request, acknowledgement.
func (s *setup) lease(l rtnl.Link) (answer, error) {
	mac, err := rtnl.ParseMAC(l.Address)
	if err != nil {
		return answer{}, err
	}
	p, err := openPacket(l.Index, unix.ETH_P_IP, dhcpFilter)
	if err != nil {
		return answer{}, err
	}
	defer p.close()
	c := client{packet: p, mac: [6]byte(mac), xid: random(), start: time.Now(), deadline: s.deadline}
	for _, a := range s.plan.Addresses {
		if a.Addr().Is4() {
			c.wish = a.Addr()
			break
		}
	}
	for {
		offer, err := c.ask(dhcpDiscover, answer{}, 0)
		if err != nil {
			return offer, err
		}
		// A server that refuses or stays silent now may have lost the offer: begin again.
		ack, err := c.ask(dhcpRequest, offer, 3)
		if err == nil && ack.kind == dhcpAck {
			return ack, nil
		}
		c.xid++
		c.wish = netip.Addr{}
		if err == nil {
			err = fmt.Errorf("the server %v refuses the address %v that it offered", offer.server, offer.address)
		}
		if !time.Now().Add(firstWait).Before(c.deadline) {
			return answer{}, err
		}
		s.log("DHCP on %s: %v: retrying", l.Name, err)
		time.Sleep(firstWait)
	}
}

// Waits for an answer: RFC 2131, 4.1 doubles them each time. They are variables for tests.
var firstWait, lastWait = 2 * time.Second, 8 * time.Second

// client is one conversation with DHCP servers.
type client struct {
	packet   *packet
	mac      [6]byte
	xid      uint32
	start    time.Time
	deadline time.Time
	wish     netip.Addr // address to ask for; may be the zero Addr
	bad      error      // reason that the last answer was ignored
}

// ask sends a message until an answer comes: an offer to dhcpDiscover, else one from the
// server of the offer. tries limits how often; 0 is until the deadline.
func (c *client) ask(kind byte, offer answer, tries int) (answer, error) {
	wait := firstWait
	for n := 1; ; n++ {
		// ENETDOWN and ENOBUFS may pass.
		sendErr := c.packet.send(broadcastMAC, c.message(kind, offer))
		end := time.Now().Add(wait)
		if c.deadline.Before(end) {
			end = c.deadline
		}
		for {
			b, err := c.packet.receive(end)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return answer{}, err
			}
			if err != nil {
				break
			}
			a, err := parseAnswer(b, c.xid, c.mac)
			switch {
			case errors.Is(err, errNotOurs):
				continue
			case err != nil:
				c.bad = err
				continue
			case kind == dhcpDiscover && a.kind == dhcpOffer, kind == dhcpRequest && a.kind != dhcpOffer && a.server == offer.server:
				return a, nil
			}
		}
		switch {
		case !time.Now().Before(c.deadline), n == tries:
			return answer{}, c.silent(sendErr)
		}
		wait = min(2*wait, lastWait)
	}
}

// silent is the error for no answer.
func (c *client) silent(sendErr error) error {
	switch {
	case sendErr != nil:
		return sendErr
	case c.bad != nil:
		return fmt.Errorf("no valid answer after %s: %w", seconds(c.start), c.bad)
	}
	return fmt.Errorf("no answer after %s", seconds(c.start))
}

// message returns an IPv4 packet with a message to all servers.
func (c *client) message(kind byte, offer answer) []byte {
	b := make([]byte, 28+bootpLen, 28+bootpLen+64)
	m := b[28:]
	m[0], m[1], m[2] = 1, 1, 6 // BOOTREQUEST, Ethernet
	be.PutUint32(m[4:], c.xid)
	be.PutUint16(m[8:], uint16(min(time.Since(c.start)/time.Second, 0xffff)))
	copy(m[28:], c.mac[:])
	be.PutUint32(m[236:], cookie)
	b = append(b, optionType, 1, kind)
	wish := c.wish
	if kind == dhcpRequest {
		wish = offer.address
		b = append(append(b, optionServer, 4), offer.server.AsSlice()...)
	}
	if wish.IsValid() {
		b = append(append(b, optionRequested, 4), wish.AsSlice()...)
	}
	b = append(b, optionWanted, 4, optionRoutes, optionMask, optionRouter, optionMTU, optionEnd)
	for len(b) < 28+300 { // the size of BOOTP, below which some relays drop messages
		b = append(b, 0)
	}
	// IPv4 and UDP, from 0.0.0.0:68 to 255.255.255.255:67; no checksum of UDP.
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	be.PutUint16(b[2:], uint16(len(b)))
	be.PutUint32(b[16:], 0xffffffff)
	be.PutUint16(b[10:], checksum(b[:20]))
	be.PutUint16(b[20:], 68)
	be.PutUint16(b[22:], 67)
	be.PutUint16(b[24:], uint16(len(b)-20))
	return b
}

// checksum is that of RFC 1071, for an even number of bytes.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(be.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Errors of parseAnswer.
var (
	errNotOurs = errors.New("no answer to this client")
	errAnswer  = errors.New("malformed answer")
)

// parseAnswer reads an IPv4 packet with an answer of a DHCP server to the client with
// that transaction and address. It does not check the checksum of UDP, which packets from
// the same machine do not have yet.
func parseAnswer(b []byte, xid uint32, mac [6]byte) (a answer, err error) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP || be.Uint16(b[6:])&0x3fff != 0 {
		return a, errNotOurs
	}
	head, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if head < 20 || total > len(b) || head+8+bootpLen > total {
		return a, errNotOurs
	}
	b = b[head:total]
	if n := int(be.Uint16(b[4:])); be.Uint16(b[2:]) != 68 || n < 8+bootpLen || n > len(b) {
		return a, errNotOurs
	}
	m := b[8:be.Uint16(b[4:])]
	if m[0] != 2 || m[1] != 1 || m[2] != 6 || be.Uint32(m[4:]) != xid || [6]byte(m[28:34]) != mac || be.Uint32(m[236:]) != cookie {
		return a, errNotOurs
	}
	a.address = netip.AddrFrom4([4]byte(m[16:20]))
	a.bits = -1
	var classless []byte // the option may be split (RFC 3396)
	err = options(m, func(code byte, v []byte) error {
		switch {
		case code == optionType && len(v) == 1:
			a.kind = v[0]
		case code == optionServer && len(v) == 4:
			a.server = netip.AddrFrom4([4]byte(v))
		case code == optionMask && len(v) == 4:
			a.bits = maskBits(be.Uint32(v))
		case code == optionMTU && len(v) == 2:
			if n := int(be.Uint16(v)); n >= 576 { // RFC 2132, 5.1 permits less; IPv4 hardly works then
				a.mtu = n
			}
		case code == optionRouter && len(v) >= 4 && a.routes == nil:
			if via := netip.AddrFrom4([4]byte(v[:4])); unicast(via) {
				a.routes = []netplan.Route{{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via}}
			}
		case code == optionRoutes:
			classless = append(classless, v...)
		}
		return nil
	})
	if err == nil && classless != nil { // RFC 3442: it replaces the routers
		a.routes, err = classlessRoutes(classless)
	}
	if err != nil {
		return a, err
	}
	return a, a.check()
}

// check returns an error for an answer that is of no use.
func (a *answer) check() error {
	switch {
	case a.kind != dhcpOffer && a.kind != dhcpAck && a.kind != dhcpNak:
		return fmt.Errorf("%w: message type is %d", errAnswer, a.kind)
	case !a.server.IsValid():
		return fmt.Errorf("%w: no server identifier", errAnswer)
	case a.kind == dhcpNak:
		return nil
	case !unicast(a.address):
		return fmt.Errorf("%w: the address is %v", errAnswer, a.address)
	case a.bits < 1:
		return fmt.Errorf("%w: no valid subnet mask", errAnswer)
	}
	return nil
}

// unicast reports whether a machine may have the address.
func unicast(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// maskBits returns the length of the prefix of a mask; -1 if it has gaps.
func maskBits(mask uint32) int {
	n := 0
	for ; mask&0x80000000 != 0; mask <<= 1 {
		n++
	}
	if mask != 0 {
		return -1
	}
	return n
}

// options calls each for the options of a message: those at its end, then those in the
// fields file and sname, if the option overload says so.
func options(m []byte, each func(code byte, v []byte) error) error {
	overload := byte(0)
	err := optionList(m[bootpLen:], func(code byte, v []byte) error {
		if code == optionOverload && len(v) == 1 {
			overload = v[0]
		}
		return each(code, v)
	})
	if err == nil && overload&1 != 0 {
		err = optionList(m[108:236], each)
	}
	if err == nil && overload&2 != 0 {
		err = optionList(m[44:108], each)
	}
	return err
}

// optionList reads options up to their end. An option that is cut off is an error.
func optionList(b []byte, each func(code byte, v []byte) error) error {
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == 0 { // pad
			b = b[1:]
			continue
		}
		if len(b) < 2 || int(b[1]) > len(b)-2 {
			return fmt.Errorf("%w: option %d is cut off", errAnswer, b[0])
		}
		if err := each(b[0], b[2:2+int(b[1])]); err != nil {
			return err
		}
		b = b[2+int(b[1]):]
	}
	return nil
}

// classlessRoutes reads the option of RFC 3442. The gateway 0.0.0.0 is the link itself.
func classlessRoutes(v []byte) ([]netplan.Route, error) {
	var list []netplan.Route
	for len(v) > 0 {
		bits := int(v[0])
		n := (bits + 7) / 8
		if bits > 32 || len(v) < 1+n+4 || len(list) == maxRoutes {
			return nil, fmt.Errorf("%w: classless routes", errAnswer)
		}
		var to [4]byte
		copy(to[:], v[1:1+n])
		r := netplan.Route{To: netip.PrefixFrom(netip.AddrFrom4(to), bits).Masked()}
		via := netip.AddrFrom4([4]byte(v[1+n : 5+n]))
		v = v[5+n:]
		switch {
		case unicast(via):
			r.Via = via
		case via != netip.IPv4Unspecified():
			continue
		}
		list = append(list, r)
	}
	return list, nil
}

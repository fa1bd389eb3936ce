package rtnl

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	headerLen = unix.SizeofNlMsghdr
	attrLen   = unix.SizeofRtAttr
	// typeMask removes the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER from the type of
	// an attribute (linux/netlink.h).
	typeMask = 0x3fff
)

// errShort says that a message ends too early.
var errShort = errors.New("message of the kernel is too short")

func align(n int) int { return (n + 3) &^ 3 }

// message is a request under construction: header, fixed part, attributes.
type message struct{ b []byte }

// newMessage returns a request of type typ with its fixed part.
func newMessage(typ uint16, fixed ...byte) *message {
	m := &message{make([]byte, headerLen, 256)}
	ne.PutUint16(m.b[4:], typ)
	m.b = append(m.b, fixed...)
	m.pad()
	return m
}

func (m *message) pad() {
	for len(m.b)%4 != 0 {
		m.b = append(m.b, 0)
	}
}

// attr appends an attribute.
func (m *message) attr(typ uint16, value ...byte) {
	m.b = ne.AppendUint16(m.b, uint16(attrLen+len(value)))
	m.b = ne.AppendUint16(m.b, typ)
	m.b = append(m.b, value...)
	m.pad()
}

func (m *message) uint32(typ uint16, v uint32) { m.attr(typ, ne.AppendUint32(nil, v)...) }
func (m *message) text(typ uint16, s string)   { m.attr(typ, append([]byte(s), 0)...) }

// nest appends an attribute that has those that fill appends.
func (m *message) nest(typ uint16, fill func()) {
	at := len(m.b)
	m.attr(typ | unix.NLA_F_NESTED)
	fill()
	ne.PutUint16(m.b[at:], uint16(len(m.b)-at))
}

// finish fills in the header (struct nlmsghdr).
func (m *message) finish(flags uint16, seq, port uint32) []byte {
	ne.PutUint32(m.b, uint32(len(m.b)))
	ne.PutUint16(m.b[6:], flags)
	ne.PutUint32(m.b[8:], seq)
	ne.PutUint32(m.b[12:], port)
	return m.b
}

// split cuts the first message off a datagram.
func split(b []byte) (h unix.NlMsghdr, body, rest []byte, err error) {
	if len(b) < headerLen {
		return h, nil, nil, errShort
	}
	h = unix.NlMsghdr{Len: ne.Uint32(b), Type: ne.Uint16(b[4:]), Flags: ne.Uint16(b[6:]), Seq: ne.Uint32(b[8:]), Pid: ne.Uint32(b[12:])}
	if h.Len < headerLen || uint64(h.Len) > uint64(len(b)) {
		return h, nil, nil, fmt.Errorf("message of the kernel has length %d of %d", h.Len, len(b))
	}
	return h, b[headerLen:h.Len], b[min(align(int(h.Len)), len(b)):], nil
}

// status returns the error of an NLMSG_ERROR or NLMSG_DONE, nil for success.
func status(h unix.NlMsghdr, body []byte) error {
	if len(body) < 4 {
		if h.Type == unix.NLMSG_DONE {
			return nil
		}
		return errShort
	}
	n := int32(ne.Uint32(body))
	if n == 0 {
		return nil
	}
	if n > 0 || n < -4095 { // MAX_ERRNO, linux/err.h
		return fmt.Errorf("error %d from the kernel", n)
	}
	return &Error{Errno: unix.Errno(-n), Text: explanation(h, body)}
}

// explanation returns the text of an extended acknowledgement: attributes after the
// request, which is repeated without its body if NLM_F_CAPPED is set.
func explanation(h unix.NlMsghdr, body []byte) string {
	const flagCapped, flagTLVs = 0x100, 0x200 // linux/netlink.h
	if h.Flags&flagTLVs == 0 {
		return ""
	}
	skip := 4
	if h.Type == unix.NLMSG_ERROR {
		if len(body) < 4+headerLen {
			return ""
		}
		skip += headerLen
		if n := ne.Uint32(body[4:]); h.Flags&flagCapped == 0 && n >= headerLen && uint64(n) <= uint64(len(body)) {
			skip = 4 + align(int(n))
		}
	}
	if skip > len(body) {
		return ""
	}
	text := ""
	attributes(body[skip:], func(typ uint16, v []byte) error {
		if typ == unix.NLMSGERR_ATTR_MSG {
			text = plainText(v)
		}
		return nil
	})
	return text
}

// attributes calls each with type and value of every attribute (struct rtattr).
func attributes(b []byte, each func(typ uint16, v []byte) error) error {
	for len(b) > 0 {
		if len(b) < attrLen {
			return errShort
		}
		n := int(ne.Uint16(b))
		if n < attrLen || n > len(b) {
			return fmt.Errorf("attribute of the kernel has length %d of %d", n, len(b))
		}
		if err := each(ne.Uint16(b[2:])&typeMask, b[attrLen:n]); err != nil {
			return err
		}
		b = b[min(align(n), len(b)):]
	}
	return nil
}

// plainText returns a string of the kernel without its end and without control characters.
func plainText(v []byte) string {
	s, _, _ := strings.Cut(string(v), "\x00")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// number returns a value of 1, 2 or 4 bytes; 0 if it has another size.
func number(v []byte) int {
	switch len(v) {
	case 1:
		return int(v[0])
	case 2:
		return int(ne.Uint16(v))
	case 4:
		return int(ne.Uint32(v))
	}
	return 0
}

// index returns the index of a link; 0 if the value is none.
func index(v []byte) int {
	if len(v) != 4 {
		return 0
	}
	return int(int32(ne.Uint32(v)))
}

// addr returns an IP address; the zero Addr if the value is none.
func addr(v []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(v)
	return a
}

// family returns the address family of an IP address.
func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// FormatMAC returns a hardware address as ip-link(8) prints it: 52:54:00:12:34:56. It is
// "" for no address and for one of zeros only.
func FormatMAC(b []byte) string {
	const digits = "0123456789abcdef"
	zero := true
	s := make([]byte, 0, 3*len(b))
	for i, c := range b {
		zero = zero && c == 0
		if i > 0 {
			s = append(s, ':')
		}
		s = append(s, digits[c>>4], digits[c&15])
	}
	if zero {
		return ""
	}
	return string(s)
}

// ParseMAC is the inverse of FormatMAC for the six bytes of an Ethernet address. Upper
// case digits are accepted.
func ParseMAC(s string) ([]byte, error) {
	b := make([]byte, 0, 6)
	if len(s) == 17 {
		for i := 0; i < len(s); i += 3 {
			hi, lo := digit(s[i]), digit(s[i+1])
			if hi < 0 || lo < 0 || i+2 < len(s) && s[i+2] != ':' {
				break
			}
			b = append(b, byte(hi<<4|lo))
		}
	}
	if len(b) != 6 {
		return nil, fmt.Errorf("%.40q is not an Ethernet address", s)
	}
	return b, nil
}

// digit returns the value of a hexadecimal digit, -1 for any other character.
func digit(c byte) int {
	if c >= 'A' && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}

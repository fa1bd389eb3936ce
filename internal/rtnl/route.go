package rtnl

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Route is an entry of a routing table.
type Route struct {
	To       netip.Prefix
	Via      netip.Addr // gateway, perhaps of the other family; the zero Addr if on the link
	From     netip.Addr // preferred source address
	Index    int        // of the link
	Table    int        // RT_TABLE_*, linux/rtnetlink.h
	Protocol int        // RTPROT_*
	Type     int        // RTN_*
	Scope    int        // RT_SCOPE_*
	Metric   int
	MTU      int // of the path; 0 if the route has none
	Locked   bool
	OnLink   bool // the gateway is a neighbour, whatever the addresses say
	Encap    bool // packets are wrapped into others (ip-route(8), encap)
	Multiple bool // it has several next hops; Via and Index are those of the first
}

// Flags of requests for one route (linux/rtnetlink.h).
const (
	lookupTable = 0x1000 // RTM_F_LOOKUP_TABLE: the table, not RT_TABLE_MAIN
	fibMatch    = 0x2000 // RTM_F_FIB_MATCH, since Linux 4.13: the entry that matched
)

// Route returns the way to an address now, with gateway, source address and link. link is
// the index of the link to use, 0 for any. The error wraps ENETUNREACH, EHOSTUNREACH,
// EACCES or EINVAL if no route leads there.
func (c *Conn) Route(to netip.Addr, link int) (Route, error) { return c.lookup(to, link, lookupTable) }

// Match returns the entry of the routing table that leads to an address. Before Linux
// 4.13 (IPv6: 5.0) its To is the address alone.
func (c *Conn) Match(to netip.Addr, link int) (Route, error) {
	return c.lookup(to, link, lookupTable|fibMatch)
}

func (c *Conn) lookup(to netip.Addr, link int, flags uint32) (r Route, err error) {
	fixed := make([]byte, unix.SizeofRtMsg)
	fixed[0], fixed[1] = family(to), byte(to.BitLen())
	ne.PutUint32(fixed[8:], flags)
	m := newMessage(unix.RTM_GETROUTE, fixed...)
	m.attr(unix.RTA_DST, to.AsSlice()...)
	if link != 0 {
		m.uint32(unix.RTA_OIF, uint32(link))
	}
	found := false
	err = c.exchange(m, unix.NLM_F_ACK, func(typ uint16, b []byte) error {
		if typ != unix.RTM_NEWROUTE {
			return nil
		}
		found = true
		r, err = parseRoute(b)
		return err
	})
	if err == nil && !found {
		err = errShort
	}
	if err != nil {
		return r, fmt.Errorf("find the route to %v: %w", to, err)
	}
	return r, nil
}

// Routes returns the routes of the main table, of both families.
func (c *Conn) Routes() ([]Route, error) {
	var list []Route
	m := newMessage(unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg)...)
	err := c.dump(m, unix.RTM_NEWROUTE, func() { list = nil }, func(b []byte) error {
		r, err := parseRoute(b)
		if err == nil && r.Table == unix.RT_TABLE_MAIN && r.To.IsValid() {
			list = append(list, r)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return list, nil
}

// parseRoute reads the body of an RTM_NEWROUTE. Of another family than IP, To is not
// valid.
func parseRoute(b []byte) (r Route, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, errShort
	}
	r = Route{Table: int(b[4]), Protocol: int(b[5]), Scope: int(b[6]), Type: int(b[7]), OnLink: ne.Uint32(b[8:])&unix.RTNH_F_ONLINK != 0}
	to := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		to = netip.IPv6Unspecified()
	}
	err = attributes(b[unix.SizeofRtMsg:], func(typ uint16, v []byte) error {
		switch typ {
		case unix.RTA_DST:
			to = addr(v)
		case unix.RTA_TABLE:
			r.Table = number(v)
		case unix.RTA_PREFSRC:
			r.From = addr(v)
		case unix.RTA_PRIORITY:
			r.Metric = number(v)
		case unix.RTA_METRICS:
			return r.parseMetrics(v)
		case unix.RTA_MULTIPATH:
			return r.parseNextHops(v)
		}
		r.parseHop(typ, v)
		return nil
	})
	if b[0] == unix.AF_INET || b[0] == unix.AF_INET6 {
		r.To = netip.PrefixFrom(to, int(b[1]))
	}
	return r, err
}

// parseHop reads an attribute that a route or one of its next hops has.
func (r *Route) parseHop(typ uint16, v []byte) {
	switch typ {
	case unix.RTA_OIF:
		r.Index = index(v)
	case unix.RTA_GATEWAY:
		r.Via = addr(v)
	case unix.RTA_VIA: // struct rtvia: family, address
		if len(v) > 2 {
			r.Via = addr(v[2:])
		}
	case unix.RTA_ENCAP_TYPE:
		r.Encap = number(v) != 0
	}
}

func (r *Route) parseMetrics(b []byte) error {
	return attributes(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.RTAX_MTU:
			r.MTU = number(v)
		case unix.RTAX_LOCK:
			r.Locked = number(v)&(1<<unix.RTAX_MTU) != 0
		}
		return nil
	})
}

// parseNextHops reads the first next hop of a struct rtnexthop[].
func (r *Route) parseNextHops(b []byte) error {
	if len(b) < unix.SizeofRtNexthop {
		return errShort
	}
	n := int(ne.Uint16(b))
	if n < unix.SizeofRtNexthop || n > len(b) {
		return errShort
	}
	r.Multiple = len(b) > align(n)
	r.Index = index(b[4:8])
	r.OnLink = b[2]&unix.RTNH_F_ONLINK != 0
	return attributes(b[unix.SizeofRtNexthop:n], func(typ uint16, v []byte) error {
		r.parseHop(typ, v)
		return nil
	})
}

// route is the request of ReplaceRoute.
func route(r Route) *message {
	to := r.To.Masked().Addr()
	fixed := make([]byte, unix.SizeofRtMsg)
	fixed[0], fixed[1] = family(to), byte(r.To.Bits())
	fixed[4], fixed[5], fixed[7] = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RTN_UNICAST
	if !r.Via.IsValid() && to.Is4() {
		fixed[6] = unix.RT_SCOPE_LINK
	}
	if r.OnLink {
		ne.PutUint32(fixed[8:], unix.RTNH_F_ONLINK)
	}
	m := newMessage(unix.RTM_NEWROUTE, fixed...)
	if r.To.Bits() > 0 {
		m.attr(unix.RTA_DST, to.AsSlice()...)
	}
	m.uint32(unix.RTA_OIF, uint32(r.Index))
	switch {
	case !r.Via.IsValid():
	case family(r.Via) == family(to):
		m.attr(unix.RTA_GATEWAY, r.Via.AsSlice()...)
	default:
		m.attr(unix.RTA_VIA, append(ne.AppendUint16(nil, uint16(family(r.Via))), r.Via.AsSlice()...)...)
	}
	if r.From.IsValid() {
		m.attr(unix.RTA_PREFSRC, r.From.AsSlice()...)
	}
	if r.Metric != 0 {
		m.uint32(unix.RTA_PRIORITY, uint32(r.Metric))
	}
	if r.MTU != 0 {
		m.nest(unix.RTA_METRICS, func() {
			if r.Locked {
				m.uint32(unix.RTAX_LOCK, 1<<unix.RTAX_MTU)
			}
			m.uint32(unix.RTAX_MTU, uint32(r.MTU))
		})
	}
	return m
}

// ReplaceRoute sets a route of the main table, in place of one with the same To and
// Metric. Its Index, To, Via, From, Metric, MTU, Locked and OnLink count.
func (c *Conn) ReplaceRoute(r Route) error {
	return c.exchange(route(r), unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		func(uint16, []byte) error { return nil })
}

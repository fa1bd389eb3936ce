// Package netconf sets the network of the capture kernel as a netplan.Network records
// it: links, addresses and routes, by rtnetlink alone. kdumpinit-net links it.
package netconf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// Limits of waits within the caller's deadline.
var (
	// CarrierTimeout is how long Up waits for a carrier. Negotiation takes 2 to 5 seconds
	// at most cards, and more than 20 with some optics and switches.
	CarrierTimeout = 30 * time.Second
	// portTimeout is how long Up waits for a network card. Drivers probe asynchronously,
	// and cards on USB come late.
	portTimeout = 30 * time.Second
	// settleTime is how long Up waits for a better match: for the card with the recorded
	// address, if another one is at its place, and for the other ports of a bond.
	settleTime = 8 * time.Second
	// followTime is the least time for a link on another one that has just got a carrier.
	followTime = 3 * time.Second
	// preferTime is how long the port of a bond that was active is waited for, if another
	// one has a carrier.
	preferTime = 5 * time.Second
	// interval is the time between two looks at the links.
	interval = 100 * time.Millisecond
)

// Result describes the network that was set up.
type Result struct {
	Link      string         // name of the link with the addresses
	Index     int            // of that link
	MTU       int            // of that link, bytes
	Addresses []netip.Prefix // that the link has now
	Servers   []netip.Addr   // those to which a route leads, in the order of the caller
}

// Up sets the network up and waits for its carrier. servers are the addresses to reach;
// each gets a route of its own, so that the networks of several targets do not disturb
// each other. It may be called again, also after it failed: it keeps all that is right
// already, and an address that Renew got. log gets warnings, each a line without newline.
//
// It returns an error if no card matches, none has a carrier, or no address could be set.
func Up(n *netplan.Network, servers []netip.Addr, deadline time.Time, log func(format string, a ...any)) (Result, error) {
	return run(n, servers, deadline, log, func(s *setup, top rtnl.Link) (Result, error) {
		if r, ok, err := s.renewed(top); ok || err != nil {
			return r, err
		}
		return s.addresses(top, n.Addresses, n.Routes)
	})
}

// Renew does the same with addresses of now: an IPv4 address that a DHCP server gives
// replaces the recorded ones, and IPv6 addresses and routes that routers advertise replace
// those. Of other origin, addresses are set as recorded. It returns an error if the network
// has no address from DHCP or a router, or if no server of DHCP and no router answers.
func Renew(n *netplan.Network, servers []netip.Addr, deadline time.Time, log func(format string, a ...any)) (Result, error) {
	if !n.DHCP && !n.RA {
		return Result{}, errors.New("the recorded address is not from DHCP or a router")
	}
	return run(n, servers, deadline, log, (*setup).renew)
}

// renew gets the addresses for Renew.
func (s *setup) renew(top rtnl.Link) (Result, error) {
	if !s.plan.RA {
		return s.leased(top)
	}
	v4, v6 := s.only(netip.Addr.Is4), s.only(netip.Addr.Is6)
	wants6 := len(v6.servers) > 0 || len(s.servers) == 0
	var r Result
	var errs []error
	add := func(more Result, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		r.Link, r.Index, r.MTU = more.Link, more.Index, more.MTU
		r.Addresses, r.Servers = append(r.Addresses, more.Addresses...), append(r.Servers, more.Servers...)
	}
	if wants6 {
		s.solicit(top) // an answer can come while DHCP runs
	}
	if s.plan.DHCP && (len(v4.servers) > 0 || len(s.servers) == 0) {
		if wants6 {
			v4.deadline = s.until(time.Until(s.deadline) / 2)
		}
		add(v4.leased(top))
	}
	if wants6 {
		add(v6.advertised(top))
	}
	if len(r.Addresses) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("link %s: no server has an address that could be renewed", top.Name))
	}
	if len(r.Addresses) == 0 {
		return r, errors.Join(errs...)
	}
	for _, err := range errs {
		s.log("%v", err)
	}
	return r, nil
}

// only returns s for the servers of one family.
func (s *setup) only(is func(netip.Addr) bool) *setup {
	c := *s
	c.servers = slices.DeleteFunc(slices.Clone(s.servers), func(a netip.Addr) bool { return !is(a) })
	return &c
}

// leased sets the network up with an address from DHCP. IPv6 addresses are those of the plan,
// unless they come from routers.
func (s *setup) leased(top rtnl.Link) (Result, error) {
	l, err := s.lease(top)
	if err != nil {
		return Result{}, fmt.Errorf("DHCP on %s: %w", top.Name, err)
	}
	s.log("DHCP on %s: the server %v gives %v", top.Name, l.server, l.prefix())
	if err := s.forget(top, l.prefix()); err != nil {
		return Result{}, err
	}
	if l.mtu > 0 && l.mtu < top.MTU {
		top.MTU = s.setMTU(top, l.mtu)
	}
	addresses, routes := []netip.Prefix{l.prefix()}, l.routes
	for _, a := range s.plan.Addresses {
		if a.Addr().Is6() && !s.plan.RA {
			addresses = append(addresses, a)
		}
	}
	for _, r := range s.plan.Routes {
		if r.To.Addr().Is6() && !s.plan.RA {
			routes = append(routes, r)
		}
	}
	return s.addresses(top, addresses, routes)
}

// setup is one call of Up or Renew.
type setup struct {
	conn     *rtnl.Conn
	plan     *netplan.Network
	servers  []netip.Addr
	deadline time.Time
	log      func(format string, a ...any)
	carrier  time.Time // until when to wait for a carrier; zero before the first port is up
}

func begin(n *netplan.Network, servers []netip.Addr, deadline time.Time, log func(string, ...any)) (*setup, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	conn, err := rtnl.Open()
	if err != nil {
		return nil, err
	}
	return &setup{conn: conn, plan: n, servers: servers, deadline: deadline, log: log}, nil
}

// run sets the links up and has f give addresses to the last of them.
func run(n *netplan.Network, servers []netip.Addr, deadline time.Time, log func(string, ...any), f func(*setup, rtnl.Link) (Result, error)) (Result, error) {
	s, err := begin(n, servers, deadline, log)
	if err != nil {
		return Result{}, err
	}
	defer s.conn.Close()
	top, err := s.links()
	if err != nil {
		return Result{}, err
	}
	return f(s, top)
}

// until returns the end of a wait: d from now, and never after the deadline.
func (s *setup) until(d time.Duration) time.Time {
	if end := time.Now().Add(d); end.Before(s.deadline) {
		return end
	}
	return s.deadline
}

// links sets all links up and returns the last.
func (s *setup) links() (rtnl.Link, error) {
	// Packets of the recorded MTU may be lost on the way without a word (RFC 4821).
	s.set("ipv4/tcp_mtu_probing", "1")
	links, err := s.conn.Links()
	if err != nil {
		return rtnl.Link{}, err
	}
	for _, l := range links {
		if l.Type == unix.ARPHRD_LOOPBACK && !l.Up() {
			if err := s.conn.SetUp(l.Index, true); err != nil {
				s.log("set link %s up: %v", l.Name, err)
			}
		}
	}
	top, err := s.lowest(&s.plan.Links[0])
	for i := 1; i < len(s.plan.Links) && err == nil; i++ {
		top, err = s.vlan(top, &s.plan.Links[i])
	}
	return top, err
}

// lowest sets up the link with the hardware.
func (s *setup) lowest(want *netplan.Link) (rtnl.Link, error) {
	if want.Kind == netplan.Bond {
		return s.bond(want)
	}
	ports, err := s.ports([]netplan.Link{*want})
	if err != nil {
		return rtnl.Link{}, err
	}
	return s.oneOf(want, ports)
}

// oneOf sets all ports up and returns the first that has a carrier. The others are then
// set down: a switch that spreads packets over several ports must see one only.
func (s *setup) oneOf(want *netplan.Link, ports []rtnl.Link) (rtnl.Link, error) {
	// A port that a call before chose stays the one.
	if i := slices.IndexFunc(ports, func(l rtnl.Link) bool { return l.Ready() && l.Master == 0 }); i >= 0 {
		ports = ports[i : i+1]
	}
	for i := range ports {
		if ports[i].Master != 0 {
			if err := s.conn.SetMaster(ports[i].Index, 0); err != nil {
				s.log("take %s out of its bond: %v", ports[i].Name, err)
			}
		}
		if err := s.prepare(&ports[i], want); err != nil {
			return rtnl.Link{}, err
		}
	}
	ready, err := s.await(want.Name, ports)
	if err != nil {
		return rtnl.Link{}, err
	}
	for _, p := range ports {
		if p.Index != ready.Index {
			if err := s.conn.SetUp(p.Index, false); err != nil {
				s.log("set link %s down: %v", p.Name, err)
			}
		}
	}
	return ready, nil
}

// NextPort makes the next Up try another port of a bond, of which one port is used: one can
// have a carrier and reach nothing. It returns false after all have had their turn. n is
// changed.
func NextPort(n *netplan.Network, turn int) bool {
	i := slices.IndexFunc(n.Links, func(l netplan.Link) bool { return l.Kind == netplan.Bond && !l.LACP && turn < len(l.Ports) })
	if i < 0 {
		return false
	}
	ports := n.Links[i].Ports
	s, err := begin(n, nil, time.Now().Add(interval), func(string, ...any) {})
	if err != nil {
		return false
	}
	defer s.conn.Close()
	found, err := s.ports(ports)
	if err != nil {
		return false
	}
	for _, l := range found {
		if l.Up() {
			s.conn.SetUp(l.Index, false) // Up keeps a port that is ready
		}
	}
	n.Links[i].Ports = append(slices.Clone(ports[1:]), ports[0])
	return true
}

// prepare gives a link the address and MTU that want has, and sets it up.
func (s *setup) prepare(l *rtnl.Link, want *netplan.Link) error {
	s.setIPv6(l.Name)
	s.setAddress(l, want.Address)
	l.MTU = s.setMTU(*l, want.MTU)
	if l.Up() {
		return nil
	}
	if err := s.conn.SetUp(l.Index, true); err != nil {
		return fmt.Errorf("set link %s up: %w", l.Name, err)
	}
	return nil
}

// setAddress changes the hardware address of a link. A link with another address may
// work too, so errors become warnings.
func (s *setup) setAddress(l *rtnl.Link, mac string) {
	if mac == "" || mac == l.Address {
		return
	}
	err := s.conn.SetAddress(l.Index, mac)
	if err != nil && l.Up() { // most drivers
		if err = s.conn.SetUp(l.Index, false); err == nil {
			l.Flags &^= unix.IFF_UP
			err = s.conn.SetAddress(l.Index, mac)
		}
	}
	if err != nil {
		s.log("set address %s of link %s: %v: keeping %s", mac, l.Name, err, l.Address)
		return
	}
	l.Address = mac
}

// defaultMTU is that of Ethernet (RFC 894), which every driver accepts.
const defaultMTU = 1500

// setMTU sets the MTU of a link, or the largest that the driver accepts, and returns it.
func (s *setup) setMTU(l rtnl.Link, want int) int {
	if want == 0 || want == l.MTU {
		return l.MTU
	}
	err := s.conn.SetMTU(l.Index, want)
	if err == nil {
		return want
	}
	mtu := l.MTU
	for _, smaller := range []int{l.MaxMTU, defaultMTU} {
		if smaller <= 0 || smaller >= want {
			continue
		}
		if smaller == l.MTU || s.conn.SetMTU(l.Index, smaller) == nil {
			mtu = smaller
			break
		}
	}
	s.log("set MTU %d of link %s: %v: using %d", want, l.Name, err, mtu)
	return mtu
}

// await waits until one of the links can carry packets, and returns the first of those.
func (s *setup) await(name string, links []rtnl.Link) (rtnl.Link, error) {
	if s.carrier.IsZero() {
		s.carrier = s.until(CarrierTimeout)
	}
	// A VLAN follows the link below it within a second (net/core/link_watch.c).
	start, end := time.Now(), s.until(min(followTime, CarrierTimeout))
	if end.Before(s.carrier) {
		end = s.carrier
	}
	for {
		now, err := s.conn.Links()
		if err != nil {
			return rtnl.Link{}, err
		}
		there, dormant := 0, false
		for _, l := range links {
			i := slices.IndexFunc(now, func(n rtnl.Link) bool { return n.Index == l.Index })
			if i < 0 {
				continue
			}
			there++
			// The first is the one that was active; its carrier may be noticed later.
			if now[i].Ready() && (there == 1 || time.Since(start) > preferTime) {
				return now[i], nil
			}
			dormant = dormant || now[i].Carrier
		}
		switch {
		case there == 0:
			return rtnl.Link{}, fmt.Errorf("link %s: the card was removed", name)
		case time.Now().Before(end):
			time.Sleep(interval)
		case dormant:
			return rtnl.Link{}, fmt.Errorf("link %s: a carrier, but still dormant after %v", name, seconds(start))
		default:
			return rtnl.Link{}, fmt.Errorf("link %s: no carrier after %v", name, seconds(start))
		}
	}
}

func seconds(start time.Time) string {
	return fmt.Sprintf("%d seconds", int(time.Since(start).Round(time.Second)/time.Second))
}

// vlan makes the VLAN on the link below, unless it exists, and sets it up.
func (s *setup) vlan(below rtnl.Link, want *netplan.Link) (rtnl.Link, error) {
	protocol := want.Protocol
	if protocol == 0 {
		protocol = unix.ETH_P_8021Q
	}
	is := func(l rtnl.Link) bool {
		return l.Kind == "vlan" && l.Below == below.Index && !l.Elsewhere && l.VLANID == want.ID && l.VLANProtocol == protocol
	}
	add := func(name string) error { return s.conn.AddVLAN(name, below.Index, want.ID, protocol) }
	l, err := s.make(want.Name, is, add)
	if err != nil {
		return l, fmt.Errorf("add VLAN %d on %s: %w", want.ID, below.Name, err)
	}
	wanted := *want
	if wanted.MTU > below.MTU {
		wanted.MTU = below.MTU // that of the link below was reported
	}
	if err := s.prepare(&l, &wanted); err != nil {
		return l, err
	}
	return s.await(want.Name, []rtnl.Link{l})
}

// make returns the link for which is holds. If there is none, add makes it under the
// recorded name, or under another one if that is taken.
func (s *setup) make(name string, is func(rtnl.Link) bool, add func(name string) error) (rtnl.Link, error) {
	links, err := s.conn.Links()
	if err != nil {
		return rtnl.Link{}, err
	}
	if i := slices.IndexFunc(links, is); i >= 0 {
		return links[i], nil
	}
	err = add(name)
	for i := 0; i < 10 && errors.Is(err, unix.EEXIST); i++ {
		err = add(fmt.Sprintf("ukdump%d", i))
	}
	if err != nil {
		return rtnl.Link{}, err
	}
	if links, err = s.conn.Links(); err != nil {
		return rtnl.Link{}, err
	}
	if i := slices.IndexFunc(links, is); i >= 0 {
		return links[i], nil
	}
	return rtnl.Link{}, errors.New("the new link is missing")
}

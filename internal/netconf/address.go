package netconf

import (
	"fmt"
	"net/netip"
	"slices"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// addresses gives the link its addresses and routes.
func (s *setup) addresses(top rtnl.Link, addresses []netip.Prefix, routes []netplan.Route) (Result, error) {
	r := Result{Link: top.Name, Index: top.Index, MTU: top.MTU}
	if len(addresses) == 0 {
		return r, fmt.Errorf("link %s: no address is recorded", top.Name)
	}
	present, err := s.conn.Addresses()
	if err != nil {
		return r, err
	}
	var failed error
	for _, a := range addresses {
		has := slices.ContainsFunc(present, func(p rtnl.Address) bool { return p.Index == top.Index && p.Prefix == a })
		if !has && a.Addr().Is4() {
			s.probe(top, a.Addr())
		}
		if err := s.conn.AddAddress(top.Index, a); err != nil {
			err = fmt.Errorf("add address %v to link %s: %w", a, top.Name, err)
			s.log("%v", err)
			failed = err
			continue
		}
		r.Addresses = append(r.Addresses, a)
	}
	if len(r.Addresses) == 0 {
		return r, failed
	}
	for _, w := range routes {
		if err := s.route(top, r.Addresses, w); err != nil {
			s.log("%v", err)
		}
	}
	for _, server := range s.servers {
		w, err := way(server, r.Addresses, routes)
		if err == nil {
			err = s.route(top, r.Addresses, w)
		}
		if err != nil {
			s.log("%v", err)
			continue
		}
		r.Servers = append(r.Servers, server)
	}
	if len(r.Servers) == 0 && len(s.servers) > 0 {
		return r, fmt.Errorf("link %s: no route to %v", top.Name, s.servers)
	}
	return r, nil
}

// way returns the route to a server alone: on the link if the server is in the network of
// an address, otherwise like the most specific route.
func way(server netip.Addr, addresses []netip.Prefix, routes []netplan.Route) (netplan.Route, error) {
	server = server.WithZone("")
	to := netip.PrefixFrom(server, server.BitLen())
	best := netplan.Route{To: netip.PrefixFrom(server, 0)}
	found := false
	for _, r := range routes {
		if r.To.Contains(server) && (!found || r.To.Bits() > best.To.Bits()) {
			best, found = r, true
		}
	}
	for _, a := range addresses {
		if a.Contains(server) && (!found || a.Bits() > best.To.Bits()) {
			best, found = netplan.Route{To: a, From: a.Addr()}, true
		}
	}
	if server.IsLinkLocalUnicast() && server.Is6() {
		best, found = netplan.Route{}, true
	}
	if !found {
		return best, fmt.Errorf("no route to %v is recorded", server)
	}
	best.To, best.Metric = to, 0
	return best, nil
}

// route sets one route of the link.
func (s *setup) route(top rtnl.Link, addresses []netip.Prefix, w netplan.Route) error {
	r := rtnl.Route{To: w.To, Via: w.Via, From: w.From, Index: top.Index, Metric: w.Metric, MTU: min(w.MTU, top.MTU), Locked: w.Locking}
	// The recorded source address may not be set, if DHCP gave another.
	if !slices.ContainsFunc(addresses, func(a netip.Prefix) bool { return a.Addr() == r.From }) {
		r.From = netip.Addr{}
	}
	if r.Via.IsValid() {
		near := slices.ContainsFunc(addresses, func(a netip.Prefix) bool { return a.Contains(r.Via) })
		r.OnLink = w.OnLink || !near && !r.Via.IsLinkLocalUnicast()
	}
	if err := s.conn.ReplaceRoute(r); err != nil {
		via := ""
		if r.Via.IsValid() {
			via = " via " + r.Via.String()
		}
		return fmt.Errorf("add route to %v%s on link %s: %w", r.To, via, top.Name, err)
	}
	return nil
}

// forget removes all IPv4 addresses of the link but one, and with them their routes.
func (s *setup) forget(top rtnl.Link, keep netip.Prefix) error {
	list, err := s.conn.Addresses()
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Index != top.Index || !a.Prefix.Addr().Is4() || a.Prefix == keep {
			continue
		}
		if err := s.conn.DeleteAddress(top.Index, a.Prefix); err != nil {
			s.log("remove address %v from link %s: %v", a.Prefix, top.Name, err)
		}
	}
	return nil
}

// renewed returns the network as Renew left it, and whether that was called before: the
// link has an IPv4 address that is not recorded, or one from a router. The recorded one may
// be another machine's by now.
func (s *setup) renewed(top rtnl.Link) (r Result, ok bool, err error) {
	if !s.plan.DHCP && !s.plan.RA {
		return r, false, nil
	}
	present, err := s.conn.Addresses()
	if err != nil {
		return r, false, err
	}
	r = Result{Link: top.Name, Index: top.Index, MTU: top.MTU}
	for _, a := range present {
		recorded, router := slices.Contains(s.plan.Addresses, a.Prefix), s.plan.RA && fromRouter(a)
		leased := s.plan.DHCP && a.Prefix.Addr().Is4()
		if a.Index == top.Index && (recorded || leased || router) {
			r.Addresses = append(r.Addresses, a.Prefix)
			ok = ok || !recorded || router
		}
	}
	if ok {
		r.Servers = s.follow(top, r.Addresses)
	}
	return r, ok && len(r.Servers) > 0, nil
}

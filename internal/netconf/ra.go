package netconf

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// raTimeout is how long Renew waits for router advertisements. Routers answer within half a
// second (RFC 4861, 6.2.6), and the kernel repeats its solicitations.
var raTimeout = 30 * time.Second

// followRouters is the value of accept_ra for a link whose addresses come from routers now.
// Without forwarding it means the same as the kernel's default, 1
// (Documentation/networking/ip-sysctl.rst); Up recognises such a link by it.
const followRouters = "2"

// followsRouters reports whether Renew has left a link to router advertisements.
func followsRouters(link string) bool {
	b, err := os.ReadFile(filepath.Join(proc, "sys/net/ipv6/conf", link, "accept_ra"))
	return err == nil && strings.TrimSpace(string(b)) == followRouters
}

// solicit has the kernel ask for router advertisements. IPv6 goes off and on again: thus the
// recorded addresses and routes vanish, and the kernel sends solicitations (addrconf_ifdown()
// and addrconf_dad_completed() in net/ipv6/addrconf.c).
func (s *setup) solicit(top rtnl.Link) {
	for _, p := range []struct{ name, value string }{
		{"disable_ipv6", "1"},
		{"accept_ra", followRouters},
		{"autoconf", "1"},
		{"disable_ipv6", "0"},
	} {
		s.set(filepath.Join("ipv6/conf", top.Name, p.name), p.value)
	}
}

// advertised waits for an address from a router, and for a route to a server.
func (s *setup) advertised(top rtnl.Link) (Result, error) {
	r := Result{Link: top.Name, Index: top.Index, MTU: top.MTU}
	start, end := time.Now(), s.until(raTimeout)
	for {
		list, err := s.conn.Addresses()
		if err != nil {
			return r, err
		}
		r.Addresses = nil
		for _, a := range list {
			if a.Index == top.Index && fromRouter(a) {
				r.Addresses = append(r.Addresses, a.Prefix)
			}
		}
		if len(r.Addresses) > 0 {
			r.Servers = s.follow(top, r.Addresses)
		}
		switch {
		case len(r.Servers) > 0, len(r.Addresses) > 0 && len(s.servers) == 0:
			s.log("router advertisement on %s: gives %s", top.Name, joined(r.Addresses))
			return r, nil
		case time.Now().Before(end):
			time.Sleep(interval)
		case len(r.Addresses) == 0 && s.keep(top, &r):
			return r, nil
		case len(r.Addresses) == 0:
			return r, fmt.Errorf("link %s: no address by router advertisement after %s", top.Name, seconds(start))
		default:
			return r, fmt.Errorf("link %s: no route to %v by router advertisement after %s", top.Name, s.servers, seconds(start))
		}
	}
}

// keep sets the recorded addresses again, for a router that advertises itself but no prefix
// for addresses. It reports whether a route leads to a server then.
func (s *setup) keep(top rtnl.Link, r *Result) bool {
	var kept []netip.Prefix
	for _, a := range s.plan.Addresses {
		if a.Addr().Is6() && s.conn.AddAddress(top.Index, a) == nil {
			kept = append(kept, a)
		}
	}
	servers := s.follow(top, kept)
	if len(servers) == 0 {
		return false
	}
	s.log("router advertisement on %s: a router, but no address: keeping %s", top.Name, joined(kept))
	r.Addresses, r.Servers = kept, servers
	return true
}

func joined(list []netip.Prefix) string {
	var text []string
	for _, p := range list {
		text = append(text, p.String())
	}
	return strings.Join(text, " ")
}

// fromRouter reports whether the kernel has made an address of a router's prefix: it is the
// only one here that sets addresses which are not permanent.
func fromRouter(a rtnl.Address) bool {
	const unusable = unix.IFA_F_PERMANENT | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	return a.Prefix.Addr().Is6() && a.Scope < unix.RT_SCOPE_LINK && a.Flags&unusable == 0
}

// follow gives each server a route of its own, like the one that the kernel has now, and
// returns those that have one.
func (s *setup) follow(top rtnl.Link, addresses []netip.Prefix) (servers []netip.Addr) {
	for _, server := range s.servers {
		w, err := s.conn.Route(server.WithZone(""), top.Index)
		near := slices.ContainsFunc(addresses, func(a netip.Prefix) bool { return a.Contains(server) })
		// Without a route, Linux takes any IPv4 address for a neighbour.
		if err != nil || !w.Via.IsValid() && !near {
			continue
		}
		own := netplan.Route{To: netip.PrefixFrom(server.WithZone(""), server.BitLen()), Via: w.Via, From: w.From, OnLink: w.OnLink, MTU: w.MTU, Locking: w.Locked}
		if s.route(top, addresses, own) == nil {
			servers = append(servers, server)
		}
	}
	return servers
}

package netconf

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// advertise sends router advertisements (RFC 4861, 4.2) on a link until the test ends, and
// returns the address of the router. prefix is one for addresses of hosts; "" for none.
func (l *lab) advertise(link, prefix string) (router netip.Addr) {
	l.Helper()
	for name, value := range map[string]string{"accept_dad": "0", "dad_transmits": "0", "accept_ra": "0"} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", link, name), []byte(value), 0); err != nil {
			l.Skipf("no IPv6: %v", err)
		}
	}
	l.ip("link set " + strings.TrimSuffix(link, "-sw") + " up") // or the other end has no carrier
	sw := l.named(link)
	for end := time.Now().Add(10 * time.Second); !router.IsValid(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			l.Fatalf("%s has no link-local address", link)
		}
		list, err := l.conn.Addresses()
		if err != nil {
			l.Fatal(err)
		}
		for _, a := range list {
			if a.Index == sw.Index && a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix.Addr().Is6() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				router = a.Prefix.Addr()
			}
		}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		l.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		l.Fatal(err)
	}
	message := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0} // for 1800 seconds
	if prefix != "" {
		p := netip.MustParsePrefix(prefix)
		message = append(message, 3, 4, byte(p.Bits()), 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0)
		message = append(message, p.Addr().AsSlice()...)
	}
	to := &unix.SockaddrInet6{ZoneId: uint32(sw.Index), Addr: netip.MustParseAddr("ff02::1").As16()}
	done, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		defer unix.Close(fd)
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
				unix.Sendto(fd, message, 0, to)
			}
		}
	}()
	l.Cleanup(func() { close(done); <-ended })
	return router
}

// inLab runs a test in a thread of its own.
func inLab(t *testing.T, f func(l *lab)) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		l := newLab(t)
		old := raTimeout
		t.Cleanup(func() { raTimeout = old })
		f(l)
	}()
	<-done
}

// advertisedPlan has the address that a router of the past gave.
func advertisedPlan() *netplan.Network {
	return &netplan.Network{
		Links:     []netplan.Link{ethernet(mac0, path0)},
		Addresses: prefixes("2001:db8:a::5/64"),
		Routes:    []netplan.Route{route("::/0", "fe80::dead")},
		RA:        true,
	}
}

func TestRenewByRouter(t *testing.T) {
	inLab(t, func(l *lab) {
		l.card("net0", mac0, path0)
		l.cable("net0")
		n := advertisedPlan()
		router := ""
		for _, first := range []bool{true, false} {
			r, err := l.up(n, "2001:db8:9::1")
			if err != nil {
				t.Fatal(err)
			}
			if first {
				l.way("2001:db8:9::1", "net0", "fe80::dead", "2001:db8:a::5")
				router = l.advertise("net0-sw", "2001:db8:b::/64").String()
				if r, err = Renew(n, addrs("2001:db8:9::1", "192.0.2.1"), time.Now().Add(20*time.Second), l.log); err != nil {
					t.Fatal(err)
				}
				l.logged("router advertisement on net0: gives 2001:db8:b:0:5054:ff:fe00:1/64")
			}
			want := Result{Link: "net0", Index: l.named("net0").Index, MTU: 1500, Addresses: prefixes("2001:db8:b:0:5054:ff:fe00:1/64"), Servers: addrs("2001:db8:9::1")}
			if !reflect.DeepEqual(r, want) {
				t.Errorf("first %v: got %+v, want %+v", first, r, want)
			}
			l.way("2001:db8:9::1", "net0", router, "2001:db8:b:0:5054:ff:fe00:1")
		}
		list, err := l.conn.Addresses()
		if err != nil || slices.ContainsFunc(list, func(a rtnl.Address) bool { return a.Prefix == n.Addresses[0] }) {
			t.Errorf("the recorded address is there: %v, %v", list, err)
		}
		if b, err := os.ReadFile("/proc/sys/net/ipv6/conf/net0/accept_ra"); err != nil || strings.TrimSpace(string(b)) != followRouters {
			t.Errorf("accept_ra is %q, %v: the address ends with its lifetime", b, err)
		}
	})
}

// A router gives a route, and the address is of another origin.
func TestRenewRoute(t *testing.T) {
	inLab(t, func(l *lab) {
		raTimeout = 2 * time.Second
		l.card("net0", mac0, path0)
		l.cable("net0")
		router := l.advertise("net0-sw", "")
		r, err := Renew(advertisedPlan(), addrs("2001:db8:9::1"), time.Now().Add(20*time.Second), l.log)
		if err != nil || !slices.Equal(r.Addresses, prefixes("2001:db8:a::5/64")) || !slices.Equal(r.Servers, addrs("2001:db8:9::1")) {
			t.Errorf("got %+v, %v", r, err)
		}
		l.way("2001:db8:9::1", "net0", router.String(), "2001:db8:a::5")
		l.logged("a router, but no address: keeping 2001:db8:a::5/64")
	})
}

func TestRenewNoRouter(t *testing.T) {
	for _, tt := range []struct {
		name, servers string
		change        func(n *netplan.Network)
		want          string
	}{
		{"silent", "2001:db8:9::1", func(*netplan.Network) {}, "link net0: no address by router advertisement after 1 seconds"},
		{"DHCP is silent, too", "192.0.2.1 2001:db8:9::1", func(n *netplan.Network) { n.DHCP = true },
			"DHCP on net0: no answer after 1 seconds\nlink net0: no address by router advertisement after 1 seconds"},
		{"IPv4 alone", "192.0.2.1", func(*netplan.Network) {}, "link net0: no server has an address that could be renewed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(l *lab) {
				raTimeout = time.Second
				l.card("net0", mac0, path0)
				l.cable("net0")
				n := advertisedPlan()
				tt.change(n)
				_, err := Renew(n, addrs(strings.Fields(tt.servers)...), time.Now().Add(2200*time.Millisecond), l.log)
				if err == nil || err.Error() != tt.want {
					t.Errorf("got %v, want %s", err, tt.want)
				}
			})
		})
	}
}

// DHCP and a router in one network: each renews its family.
func TestRenewBoth(t *testing.T) {
	inLab(t, func(l *lab) {
		l.card("net0", mac0, path0)
		l.cable("net0")
		l.advertise("net0-sw", "2001:db8:b::/64")
		l.serve("net0-sw", func(kind byte, r reply, _ netip.Addr) []reply {
			o := offer(optionRouter, 4, 10, 9, 0, 1)
			o.xid, o.mac = r.xid, r.mac
			if kind == dhcpRequest {
				o.kind = dhcpAck
			}
			return []reply{o}
		})
		n := advertisedPlan()
		n.DHCP, n.Addresses = true, append(prefixes("10.1.2.3/24"), n.Addresses...)
		r, err := Renew(n, addrs("192.0.2.1", "2001:db8:9::1"), time.Now().Add(20*time.Second), l.log)
		if err != nil || !slices.Equal(r.Servers, addrs("192.0.2.1", "2001:db8:9::1")) ||
			!slices.Equal(r.Addresses, prefixes("10.9.0.5/24", "2001:db8:b:0:5054:ff:fe00:1/64")) {
			t.Errorf("got %+v, %v, log %q", r, err, l.logs)
		}
	})
}

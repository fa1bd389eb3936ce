package netconf

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// reply is an IPv4 packet of a DHCP server.
type reply struct {
	kind    byte
	xid     uint32
	mac     [6]byte
	address string
	server  string
	options []byte
	edit    func([]byte)
}

func (r reply) packet() []byte {
	b := make([]byte, 28+bootpLen)
	m := b[28:]
	m[0], m[1], m[2] = 2, 1, 6
	be.PutUint32(m[4:], r.xid)
	if r.address != "" {
		copy(m[16:], netip.MustParseAddr(r.address).AsSlice())
	}
	copy(m[28:], r.mac[:])
	be.PutUint32(m[236:], cookie)
	b = append(b, optionType, 1, r.kind)
	if r.server != "" {
		b = append(append(b, optionServer, 4), netip.MustParseAddr(r.server).AsSlice()...)
	}
	b = append(append(b, r.options...), optionEnd)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	be.PutUint16(b[2:], uint16(len(b)))
	be.PutUint16(b[22:], 68)
	be.PutUint16(b[24:], uint16(len(b)-20))
	if r.edit != nil {
		r.edit(b)
	}
	return b
}

var (
	testMAC  = [6]byte{0x52, 0x54, 0, 0, 0, 1}
	testMask = []byte{optionMask, 4, 255, 255, 255, 0}
)

func offer(options ...byte) reply {
	return reply{kind: dhcpOffer, xid: 7, mac: testMAC, address: "10.9.0.5", server: "10.9.0.1", options: append(bytes.Clone(testMask), options...)}
}

func TestParseAnswer(t *testing.T) {
	edited := func(edit func([]byte)) reply { r := offer(); r.edit = edit; return r }
	for _, c := range []struct {
		name string
		r    reply
		want string
	}{
		{"offer", offer(optionRouter, 8, 10, 9, 0, 1, 10, 9, 0, 2, optionMTU, 2, 5, 120), "10.9.0.5/24 mtu 1400 [0.0.0.0/0 via 10.9.0.1]"},
		{"classless routes replace the router", offer(optionRouter, 4, 10, 9, 0, 1, optionRoutes, 14, 0, 10, 9, 0, 3, 17, 10, 128, 255, 0, 0, 0, 0), ""},
		{"classless routes", offer(optionRoutes, 5, 0, 10, 9, 0, 3, optionRoutes, 7, 16, 10, 128, 0, 0, 0, 0), "10.9.0.5/24 mtu 0 [0.0.0.0/0 via 10.9.0.3 10.128.0.0/16 via invalid IP]"},
		{"classless routes, split", offer(optionRoutes, 3, 0, 10, 9, optionRoutes, 2, 0, 3), "10.9.0.5/24 mtu 0 [0.0.0.0/0 via 10.9.0.3]"},
		{"classless routes, cut off", offer(optionRoutes, 4, 0, 10, 9, 0), "malformed answer: classless routes"},
		{"classless routes, too long", offer(optionRoutes, 6, 33, 10, 9, 0, 1, 1), "malformed answer: classless routes"},
		{"small MTU", offer(optionMTU, 2, 0, 68), "10.9.0.5/24 mtu 0 []"},
		{"multicast router", offer(optionRouter, 4, 224, 0, 0, 1), "10.9.0.5/24 mtu 0 []"},
		{"options in file and sname", func() reply {
			r := offer(optionOverload, 1, 3)
			r.options = r.options[6:]
			r.edit = func(b []byte) {
				copy(b[28+108:], append(bytes.Clone(testMask), optionEnd))
				copy(b[28+44:], []byte{0, optionRouter, 4, 10, 9, 0, 1, optionEnd})
			}
			return r
		}(), "10.9.0.5/24 mtu 0 [0.0.0.0/0 via 10.9.0.1]"},
		{"NAK", reply{kind: dhcpNak, xid: 7, mac: testMAC, server: "10.9.0.1"}, "NAK"},
		{"other transaction", edited(func(b []byte) { b[32]++ }), "no answer to this client"},
		{"other client", edited(func(b []byte) { b[28+28]++ }), "no answer to this client"},
		{"request", edited(func(b []byte) { b[28] = 1 }), "no answer to this client"},
		{"fragment", edited(func(b []byte) { b[6] = 0x20 }), "no answer to this client"},
		{"length beyond the packet", edited(func(b []byte) { b[2] = 9 }), "no answer to this client"},
		{"length of UDP beyond the packet", edited(func(b []byte) { b[24] = 9 }), "no answer to this client"},
		{"bad mask", reply{kind: dhcpOffer, xid: 7, mac: testMAC, address: "10.9.0.5", server: "10.9.0.1", options: []byte{optionMask, 4, 255, 0, 255, 0}}, "malformed answer: no valid subnet mask"},
		{"no server", reply{kind: dhcpOffer, xid: 7, mac: testMAC, address: "10.9.0.5", options: testMask}, "malformed answer: no server identifier"},
		{"multicast address", reply{kind: dhcpAck, xid: 7, mac: testMAC, address: "224.0.0.5", server: "10.9.0.1", options: testMask}, "malformed answer: the address is 224.0.0.5"},
		{"option beyond the end", offer(optionRouter, 200, 1), "malformed answer: option 3 is cut off"},
		{"inform", reply{kind: 8, xid: 7, mac: testMAC, server: "10.9.0.1"}, "malformed answer: message type is 8"},
	} {
		a, err := parseAnswer(c.r.packet(), 7, testMAC)
		var got []string
		for _, r := range a.routes {
			got = append(got, r.To.String()+" via "+r.Via.String())
		}
		s := a.prefix().String() + " mtu " + strconv.Itoa(a.mtu) + " [" + strings.Join(got, " ") + "]"
		switch {
		case err != nil:
			s = err.Error()
		case a.kind == dhcpNak:
			s = "NAK"
		}
		if c.want == "" {
			c.want = "malformed answer: classless routes"
		}
		if s != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, s, c.want)
		}
	}
}

// serve answers DHCP messages on a link with the packets that answer returns, until the
// test ends.
func (l *lab) serve(link string, answer func(kind byte, r reply, wish netip.Addr) []reply) {
	l.Helper()
	p, err := openPacket(l.named(link).Index, unix.ETH_P_IP, nil)
	if err != nil {
		l.Skipf("no packet sockets: %v", err)
	}
	stop, done := make(chan bool), make(chan bool)
	l.Cleanup(func() { close(stop); <-done; p.close() })
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			b, err := p.receive(time.Now().Add(50 * time.Millisecond))
			if err != nil || len(b) < 28+bootpLen || be.Uint16(b[22:]) != 67 {
				continue
			}
			m := b[28:]
			var kind byte
			var wish netip.Addr
			options(m, func(code byte, v []byte) error {
				switch code {
				case optionType:
					kind = v[0]
				case optionRequested:
					wish, _ = netip.AddrFromSlice(v)
				}
				return nil
			})
			r := reply{xid: be.Uint32(m[4:]), mac: [6]byte(m[28:34])}
			for _, r := range answer(kind, r, wish) {
				p.send(r.mac, r.packet())
			}
		}
	}()
}

func TestRenew(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	l.cable("net0")
	n := &netplan.Network{
		Links:     []netplan.Link{ethernet(mac0, path0)},
		Addresses: prefixes("10.1.2.3/24", "2001:db8::3/64"),
		Routes:    []netplan.Route{route("0.0.0.0/0", "10.1.2.1"), route("::/0", "fe80::1")},
		DHCP:      true,
	}
	if _, err := l.up(n, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	wishes := []netip.Addr{}
	requests := 0
	l.serve("net0-sw", func(kind byte, r reply, wish netip.Addr) []reply {
		wishes = append(wishes, wish)
		r.address, r.server = "10.9.0.5", "10.9.0.1"
		r.options = append(bytes.Clone(testMask), optionRouter, 4, 10, 9, 0, 1, optionMTU, 2, 5, 120)
		if kind == dhcpDiscover {
			r.kind = dhcpOffer
			other, garbage := r, r
			other.xid++
			garbage.options = []byte{optionMask, 200}
			return []reply{other, garbage, r}
		}
		if requests++; requests == 1 {
			return []reply{{kind: dhcpNak, xid: r.xid, mac: r.mac, server: r.server}}
		}
		r.kind = dhcpAck
		return []reply{r}
	})
	r, err := Renew(n, addrs("192.0.2.1", "2001:db8:9::1"), time.Now().Add(20*time.Second), l.log)
	if err != nil {
		t.Fatal(err)
	}
	l.logged("DHCP on net0: the server 10.9.0.1 refuses the address 10.9.0.5 that it offered: retrying",
		"DHCP on net0: the server 10.9.0.1 gives 10.9.0.5/24")
	want := Result{Link: "net0", Index: l.named("net0").Index, MTU: 1400, Addresses: prefixes("10.9.0.5/24", "2001:db8::3/64"), Servers: addrs("192.0.2.1", "2001:db8:9::1")}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
	l.way("192.0.2.1", "net0", "10.9.0.1", "10.9.0.5")
	l.way("2001:db8:9::1", "net0", "fe80::1", "2001:db8::3")
	list, err := l.conn.Addresses()
	if err != nil || len(list) == 0 {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Prefix == n.Addresses[0] {
			t.Errorf("the link still has %v", a.Prefix)
		}
	}
	// A worker that died begins again, also for another server.
	n.Routes = nil
	if again, err := l.up(n, "192.0.2.1", "198.51.100.1", "2001:db8:9::1"); err != nil || again.Link != "net0" || again.MTU != 1400 || !slices.Contains(again.Addresses, r.Addresses[0]) || len(again.Servers) != 3 {
		t.Errorf("again: %+v, %v", again, err)
	}
	l.way("198.51.100.1", "net0", "10.9.0.1", "10.9.0.5")
	l.logged()
	if list, err := l.conn.Addresses(); err != nil || slices.ContainsFunc(list, func(a rtnl.Address) bool { return a.Prefix == n.Addresses[0] }) {
		t.Errorf("the recorded address is back: %v", list)
	}
	if got := []netip.Addr{wishes[0], wishes[1]}; !reflect.DeepEqual(got, addrs("10.1.2.3", "10.9.0.5")) {
		t.Errorf("asked for %v", got)
	}
}

func TestRenewFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(kind byte, r reply, wish netip.Addr) []reply
		want   string
	}{
		{"silent", func(byte, reply, netip.Addr) []reply { return nil }, "DHCP on net0: no answer after 1 seconds"},
		{"garbage", func(_ byte, r reply, _ netip.Addr) []reply {
			r.kind, r.options = dhcpOffer, bytes.Repeat([]byte{optionRoutes, 1, 99}, 40)
			return []reply{r, r, r}
		}, "DHCP on net0: no valid answer after 1 seconds: malformed answer: classless routes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			done := make(chan bool)
			go func() { // a thread of its own
				defer close(done)
				l := newLab(t)
				l.card("net0", mac0, path0)
				l.cable("net0")
				l.serve("net0-sw", c.answer)
				n := &netplan.Network{Links: []netplan.Link{ethernet(mac0, path0)}, DHCP: true}
				_, err := Renew(n, nil, time.Now().Add(1200*time.Millisecond), l.log)
				if err == nil || err.Error() != c.want {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}()
			<-done
		})
	}
}

// A message that the client sends is one that its own parts can read.
func TestMessage(t *testing.T) {
	c := client{mac: testMAC, xid: 7, start: time.Now(), wish: netip.MustParseAddr("10.9.0.9")}
	b := c.message(dhcpRequest, answer{address: netip.MustParseAddr("10.9.0.5"), server: netip.MustParseAddr("10.9.0.1")})
	if len(b) != 328 || checksum(b[:20]) != 0 {
		t.Errorf("%d bytes, checksum %#x", len(b), checksum(b[:20]))
	}
	got := map[byte][]byte{}
	if err := options(b[28:], func(code byte, v []byte) error { got[code] = v; return nil }); err != nil {
		t.Fatal(err)
	}
	if got[optionType][0] != dhcpRequest || !bytes.Equal(got[optionRequested], []byte{10, 9, 0, 5}) || !bytes.Equal(got[optionServer], []byte{10, 9, 0, 1}) {
		t.Errorf("options %v", got)
	}
}

func TestARPOwner(t *testing.T) {
	a := netip.MustParseAddr("10.1.2.3")
	b := []byte{0, 1, 8, 0, 6, 4, 0, 2, 0x52, 0x54, 0, 0, 0, 9, 10, 1, 2, 3, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0}
	if got := arpOwner(b, a); got != "52:54:00:00:00:09" {
		t.Errorf("got %q", got)
	}
	for n := range b {
		if got := arpOwner(b[:n], a); got != "" {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
	if got := arpOwner(b, netip.MustParseAddr("10.1.2.4")); got != "" {
		t.Errorf("another address: %q", got)
	}
}

func FuzzDHCPAnswer(f *testing.F) {
	f.Add(offer(optionRouter, 4, 10, 9, 0, 1, optionMTU, 2, 5, 120).packet())
	f.Add(offer(optionRoutes, 14, 0, 10, 9, 0, 3, 16, 10, 128, 0, 0, 0, 0).packet())
	f.Add(offer(optionOverload, 1, 3).packet())
	f.Add(reply{kind: dhcpNak, xid: 7, mac: testMAC, server: "10.9.0.1"}.packet())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b, 7, testMAC)
		if err != nil || a.kind == dhcpNak {
			if err != nil && !errors.Is(err, errNotOurs) && !errors.Is(err, errAnswer) {
				t.Fatal(err)
			}
			return
		}
		if !a.prefix().IsValid() || len(a.routes) > maxRoutes {
			t.Fatalf("%+v", a)
		}
		// A plan with the address and the routes is one that can be set up.
		n := netplan.Network{Links: []netplan.Link{ethernet(mac0, "")}, Addresses: []netip.Prefix{a.prefix()}, Routes: a.routes}
		if err := n.Validate(); err != nil {
			t.Fatal(err)
		}
		for _, r := range a.routes {
			if _, err := way(r.To.Addr(), n.Addresses, n.Routes); err != nil {
				t.Fatal(err)
			}
		}
		_ = rtnl.FormatMAC(b)
	})
}

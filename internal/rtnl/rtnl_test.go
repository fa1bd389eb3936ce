package rtnl

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace moves the test into a network namespace of its own.
func namespace(t *testing.T) *Conn {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespaces: %v", err)
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// veth makes a pair of links.
func veth(t *testing.T, c *Conn, a, b string) {
	t.Helper()
	m := create(a)
	m.nest(unix.IFLA_LINKINFO, func() {
		m.attr(unix.IFLA_INFO_KIND, []byte("veth")...)
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.nest(1, func() { // VETH_INFO_PEER
				m.b = append(m.b, ifinfo(0, 0, 0)...)
				m.text(unix.IFLA_IFNAME, b)
			})
		})
	})
	if err := c.create(m); err != nil {
		t.Skipf("no veth: %v", err)
	}
}

func named(t *testing.T, c *Conn, name string) Link {
	t.Helper()
	links, err := c.Links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no link %s in %+v", name, links)
	return Link{}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinks(t *testing.T) {
	c := namespace(t)
	lo := named(t, c, "lo")
	if lo.Type != unix.ARPHRD_LOOPBACK || lo.Up() || lo.Address != "" {
		t.Errorf("lo is %+v", lo)
	}
	veth(t, c, "va0", "vb0")
	a := named(t, c, "va0")
	check(t, c.SetAddress(a.Index, "02:00:00:00:00:01"))
	check(t, c.SetMTU(a.Index, 1400))
	check(t, c.SetUp(a.Index, true))
	if a = named(t, c, "va0"); a.Ready() || !a.Up() || a.Carrier {
		t.Errorf("without a carrier: %+v", a)
	}
	b := named(t, c, "vb0")
	check(t, c.SetUp(b.Index, true))
	a = named(t, c, "va0")
	if !a.Carrier || a.Kind != "veth" || a.Address != "02:00:00:00:00:01" || a.Permanent != "" || a.MTU != 1400 || a.MaxMTU < 65000 || a.Below != b.Index || a.Elsewhere {
		t.Errorf("va0 is %+v", a)
	}
	check(t, c.DeleteLink(a.Index))
}

// The older way to the permanent address agrees with the newer.
func TestPermanent(t *testing.T) {
	c, err := Open()
	check(t, err)
	defer c.Close()
	links, err := c.Links()
	check(t, err)
	for _, l := range links {
		if got := permanent(l.Name); got != "" && l.Type == unix.ARPHRD_ETHER && got != l.Permanent {
			t.Errorf("%s: got %s, want %s", l.Name, got, l.Permanent)
		}
	}
	if got := permanent("no-such-link"); got != "" {
		t.Errorf("got %s for a missing link", got)
	}
}

func TestAddressesAndRoutes(t *testing.T) {
	c := namespace(t)
	veth(t, c, "va0", "vb0")
	a, b := named(t, c, "va0"), named(t, c, "vb0")
	check(t, c.SetUp(a.Index, true))
	check(t, c.SetUp(b.Index, true))
	for _, p := range []string{"10.1.2.3/24", "10.1.2.3/24", "2001:db8::3/64", "2001:db8::3/64"} {
		check(t, c.AddAddress(a.Index, netip.MustParsePrefix(p)))
	}
	list, err := c.Addresses()
	check(t, err)
	got := []string{}
	for _, a := range list {
		if a.Scope == unix.RT_SCOPE_UNIVERSE && a.Valid == Forever && a.Flags&unix.IFA_F_PERMANENT != 0 {
			got = append(got, a.Prefix.String())
		}
	}
	if want := []string{"10.1.2.3/24", "2001:db8::3/64"}; !reflect.DeepEqual(got, want) {
		t.Errorf("addresses: got %v, want %v", got, want)
	}
	routes := []Route{
		{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.1.2.1"), Metric: 100},
		{To: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("172.16.0.1"), OnLink: true, MTU: 1300, Locked: true},
		{To: netip.MustParsePrefix("198.51.100.1/32"), From: netip.MustParseAddr("10.1.2.3")},
		{To: netip.MustParsePrefix("198.51.100.2/32"), Via: netip.MustParseAddr("fe80::1")},
		{To: netip.MustParsePrefix("2001:db8:1::/48"), Via: netip.MustParseAddr("fe80::1"), MTU: 1400, Metric: 1024},
	}
	for _, r := range append(routes, routes...) {
		r.Index = a.Index
		if err := c.ReplaceRoute(r); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	all, err := c.Routes()
	check(t, err)
	for _, want := range routes {
		n := 0
		for _, r := range all {
			if r.To == want.To {
				n++
				if r.Via != want.Via || r.From != want.From || r.MTU != want.MTU || r.Locked != want.Locked || r.OnLink != want.OnLink || r.Metric != want.Metric || r.Index != a.Index {
					t.Errorf("got %+v, want %+v", r, want)
				}
			}
		}
		if n != 1 {
			t.Errorf("%d routes to %v", n, want.To)
		}
	}
	for _, s := range []struct{ to, via, from, match string }{
		{"192.0.2.9", "172.16.0.1", "10.1.2.3", "192.0.2.0/24"},
		{"203.0.113.1", "10.1.2.1", "10.1.2.3", "0.0.0.0/0"},
		{"10.1.2.9", "", "10.1.2.3", "10.1.2.0/24"},
		{"2001:db8:1::1", "fe80::1", "2001:db8::3", "2001:db8:1::/48"},
	} {
		to := netip.MustParseAddr(s.to)
		r, err := c.Route(to, 0)
		check(t, err)
		via, _ := netip.ParseAddr(s.via)
		if r.Via != via || r.From.String() != s.from || r.Index != a.Index || r.Type != unix.RTN_UNICAST {
			t.Errorf("route to %s: %+v", s.to, r)
		}
		m, err := c.Match(to, a.Index)
		check(t, err)
		if m.To.String() != s.match || m.Via != via {
			t.Errorf("entry for %s: %+v", s.to, m)
		}
	}
	check(t, c.SetUp(named(t, c, "lo").Index, true))
	if r, err := c.Route(netip.MustParseAddr("10.1.2.3"), 0); err != nil || r.Type != unix.RTN_LOCAL {
		t.Errorf("route to itself: %+v, %v", r, err)
	}
	check(t, c.DeleteAddress(a.Index, netip.MustParsePrefix("10.1.2.3/24")))
	if _, err := c.Route(netip.MustParseAddr("203.0.113.1"), 0); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("no route: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	c := namespace(t)
	veth(t, c, "va0", "vb0")
	a := named(t, c, "va0")
	err := c.SetMTU(a.Index, 70000)
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "invalid argument") {
		t.Errorf("MTU: %v", err)
	}
	if err := c.SetUp(9999, true); !errors.Is(err, unix.ENODEV) {
		t.Errorf("missing link: %v", err)
	}
	if err := c.SetAddress(a.Index, "2:0"); err == nil {
		t.Error("no error for a bad address")
	}
	// After errors, the next answers are still those of the next requests.
	named(t, c, "vb0")
}

// Kernels without them skip the rest.
func TestVLANAndBond(t *testing.T) {
	c := namespace(t)
	veth(t, c, "va0", "vb0")
	a := named(t, c, "va0")
	if err := c.AddVLAN("va0.5", a.Index, 5, unix.ETH_P_8021AD); errors.Is(err, unix.EOPNOTSUPP) {
		t.Logf("no VLANs: %v", err)
	} else if err != nil {
		t.Error(err)
	} else if v := named(t, c, "va0.5"); v.Kind != "vlan" || v.Below != a.Index || v.VLANID != 5 || v.VLANProtocol != unix.ETH_P_8021AD {
		t.Errorf("VLAN: %+v", v)
	}
	if err := c.AddBond("bond7"); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("no bonds: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	bond := named(t, c, "bond7")
	check(t, c.SetMaster(a.Index, bond.Index))
	if bond = named(t, c, "bond7"); bond.Kind != "bond" || bond.BondMode != BondLACP || named(t, c, "va0").Master != bond.Index {
		t.Errorf("bond: %+v", bond)
	}
}

// The requests that the kernel of a test machine may not know, as ip(8) sends them but
// for the order.
func TestRequests(t *testing.T) {
	if ne.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes are little endian")
	}
	for _, c := range []struct {
		name string
		m    *message
		want string
	}{
		{"VLAN", vlan("va0.5", 3, 5, unix.ETH_P_8021AD), "" +
			"54000000" + "1000" + "0506" + "07000000" + "09000000" +
			"0000000000000000" + "0000000000000000" +
			"0a000300" + hex.EncodeToString([]byte("va0.5\x00\x00\x00")) +
			"0800050003000000" +
			"20001280" + "08000100" + hex.EncodeToString([]byte("vlan")) +
			"14000280" + "0600010005000000" + "0600050088a80000"},
		{"bond", bond("bond0"), "" +
			"4c000000" + "1000" + "0506" + "07000000" + "09000000" +
			"0000000000000000" + "0000000000000000" +
			"0a000300" + hex.EncodeToString([]byte("bond0\x00\x00\x00")) +
			"20001280" + "08000100" + hex.EncodeToString([]byte("bond")) +
			"14000280" + "0500010004000000" + "0800030064000000"},
	} {
		if got := hex.EncodeToString(c.m.finish(unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, 7, 9)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
	v, err := parseLink(vlan("va0.5", 3, 5, unix.ETH_P_8021AD).b[headerLen:])
	if want := (Link{Name: "va0.5", Kind: "vlan", Below: 3, VLANID: 5, VLANProtocol: unix.ETH_P_8021AD}); err != nil || v != want {
		t.Errorf("got %+v, %v, want %+v", v, err, want)
	}
	b, err := parseLink(bond("bond0").b[headerLen:])
	if want := (Link{Name: "bond0", Kind: "bond", BondMode: BondLACP}); err != nil || b != want {
		t.Errorf("got %+v, %v, want %+v", b, err, want)
	}
}

// Addresses and routes that came by router advertisement, as the kernel lists them.
func TestParseAdvertised(t *testing.T) {
	const prefix = "2001:db8::3/64"
	lifetimes := func(valid uint32) []byte { // struct ifa_cacheinfo: preferred, valid, two stamps
		return ne.AppendUint32(ne.AppendUint32(ne.AppendUint32(ne.AppendUint32(nil, valid/2), valid), 1), 2)
	}
	for _, tt := range []struct {
		name  string
		flags uint32
		valid uint32
	}{
		{"mngtmpaddr", unix.IFA_F_MANAGETEMPADDR, 86400},
		{"stable-privacy", unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_STABLE_PRIVACY, 86400},
		{"temporary", unix.IFA_F_TEMPORARY, 600},
		{"forever", unix.IFA_F_MANAGETEMPADDR, Forever},
	} {
		p := netip.MustParsePrefix(prefix)
		m := newMessage(unix.RTM_NEWADDR, append([]byte{unix.AF_INET6, 64, byte(tt.flags), 0}, ne.AppendUint32(nil, 2)...)...)
		m.attr(unix.IFA_ADDRESS, p.Addr().AsSlice()...)
		m.attr(unix.IFA_CACHEINFO, lifetimes(tt.valid)...)
		m.uint32(unix.IFA_FLAGS, tt.flags)
		m.attr(11, 2) // IFA_PROTO: IFAPROT_KERNEL_RA, since Linux 5.18
		a, err := parseAddress(m.b[headerLen:])
		if want := (Address{Index: 2, Prefix: p, Flags: tt.flags, Valid: tt.valid}); err != nil || a != want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, a, err, want)
		}
	}
	for _, protocol := range []int{unix.RTPROT_RA, unix.RTPROT_STATIC, unix.RTPROT_KERNEL} {
		via := netip.MustParseAddr("fe80::1")
		m := newMessage(unix.RTM_NEWROUTE, unix.AF_INET6, 0, 0, 0, unix.RT_TABLE_MAIN, byte(protocol), 0, unix.RTN_UNICAST, 0, 0, 0, 0)
		m.attr(unix.RTA_GATEWAY, via.AsSlice()...)
		m.uint32(unix.RTA_OIF, 2)
		r, err := parseRoute(m.b[headerLen:])
		want := Route{To: netip.MustParsePrefix("::/0"), Via: via, Index: 2, Table: unix.RT_TABLE_MAIN, Protocol: protocol, Type: unix.RTN_UNICAST}
		if err != nil || r != want {
			t.Errorf("protocol %d: got %+v, %v, want %+v", protocol, r, err, want)
		}
	}
}

func TestParseMAC(t *testing.T) {
	for s, want := range map[string]string{
		"52:54:00:12:34:56":    "525400123456",
		"52:54:00:AB:CD:EF":    "525400abcdef",
		"":                     "",
		"52:54:00:12:34:5":     "",
		"52-54-00-12-34-56":    "",
		"52:54:00:12:34:5\x16": "",
		"52:54:00:12:34:56:78": "",
	} {
		b, err := ParseMAC(s)
		if got := hex.EncodeToString(b); got != want && err == nil || (err == nil) != (want != "") {
			t.Errorf("%q: got %s, %v, want %q", s, got, err, want)
		}
		if err == nil && FormatMAC(b) != strings.ToLower(s) {
			t.Errorf("%q: %s", s, FormatMAC(b))
		}
	}
}

func TestExplanation(t *testing.T) {
	m := newMessage(unix.RTM_NEWLINK)
	body := ne.AppendUint32(nil, ^uint32(unix.EINVAL)+1)
	body = append(body, m.finish(0, 1, 1)...)
	text := &message{body}
	text.text(unix.NLMSGERR_ATTR_MSG, "mtu greater\x1b than device maximum")
	for _, flags := range []uint16{0x200, 0x300} {
		err := status(unix.NlMsghdr{Type: unix.NLMSG_ERROR, Flags: flags}, text.b)
		if got, want := err.Error(), "invalid argument (mtu greater than device maximum)"; got != want {
			t.Errorf("flags %#x: got %q, want %q", flags, got, want)
		}
	}
}

// FuzzAnswer reads bytes as a datagram of the kernel.
func FuzzAnswer(f *testing.F) {
	for _, m := range []*message{
		vlan("va0.5", 3, 5, unix.ETH_P_8021Q),
		bond("bond0"),
		address(unix.RTM_NEWADDR, 3, netip.MustParsePrefix("10.0.0.1/24")),
		address(unix.RTM_NEWADDR, 3, netip.MustParsePrefix("2001:db8::1/64")),
		route(Route{To: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("fe80::1"), Index: 3, MTU: 1400, Locked: true}),
	} {
		f.Add(m.finish(0, 1, 1))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for n := 0; len(b) > 0; n++ {
			h, body, rest, err := split(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			b = rest
			switch h.Type {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				status(h, body)
			}
			parseLink(body)
			if a, err := parseAddress(body); err == nil && a.Prefix.IsValid() {
				_ = a.Prefix.String()
			}
			if r, err := parseRoute(body); err == nil && r.To.IsValid() {
				_ = r.To.Masked()
			}
		}
	})
}

package host

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/rtnl"
)

// fakeNetwork is an invented network.
type fakeNetwork struct {
	links     []rtnl.Link
	addresses []rtnl.Address
	routes    []rtnl.Route // most specific first
	learned   int          // MTU that the path showed
}

func (f *fakeNetwork) Links() ([]rtnl.Link, error)        { return f.links, nil }
func (f *fakeNetwork) Addresses() ([]rtnl.Address, error) { return f.addresses, nil }
func (f *fakeNetwork) Close() error                       { return nil }
func (f *fakeNetwork) Route(to netip.Addr, link int) (rtnl.Route, error) {
	for _, r := range f.routes {
		if r.To.Contains(to) && (link == 0 || link == r.Index) {
			r.MTU = cmp.Or(f.learned, r.MTU)
			return r, nil
		}
	}
	return rtnl.Route{}, fmt.Errorf("find the route to %v: %w", to, unix.ENETUNREACH)
}

func (f *fakeNetwork) Match(to netip.Addr, link int) (rtnl.Route, error) {
	table := *f
	table.learned = 0
	return table.Route(to, link)
}

// nic is a network card.
func nic(index int, name string) rtnl.Link {
	mac := fmt.Sprintf("52:54:00:00:00:%02x", index)
	return rtnl.Link{Index: index, Name: name, Type: unix.ARPHRD_ETHER, Flags: unix.IFF_UP, MTU: 1500, Carrier: true, OperState: rtnl.OperUp, Address: mac, Permanent: mac}
}

// edited returns a link after a change.
func edited(l rtnl.Link, edit func(*rtnl.Link)) rtnl.Link { edit(&l); return l }

// virtual returns a link without hardware.
func virtual(index int, name, kind string, edit func(*rtnl.Link)) rtnl.Link {
	l := nic(index, name)
	l.Kind, l.Permanent = kind, ""
	if edit != nil {
		edit(&l)
	}
	return l
}

func addr(index int, prefix string) rtnl.Address {
	return rtnl.Address{Index: index, Prefix: netip.MustParsePrefix(prefix), Valid: rtnl.Forever, Flags: unix.IFA_F_PERMANENT}
}

// to is a route; via may be empty.
func to(prefix, via, from string, index int) rtnl.Route {
	r := rtnl.Route{To: netip.MustParsePrefix(prefix), From: netip.MustParseAddr(from), Index: index, Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_MAIN}
	if via != "" {
		r.Via = netip.MustParseAddr(via)
	}
	return r
}

// cards are the files of virtio cards with these names, from eth0 on.
func cards(list ...string) map[string]string {
	files := map[string]string{
		"sys/bus/virtio/drivers/virtio_net/module": "-> ../../../../module/virtio_net",
		"sys/module/virtio_net/initstate":          "live\n",
		"sys/devices/pci0000:00/uevent":            "",
		"sys/module/8021q/initstate":               "live\n",
	}
	for i, name := range list {
		pci := fmt.Sprintf("sys/devices/pci0000:00/0000:00:0%d.0", i+3)
		dev := fmt.Sprintf("%s/virtio%d", pci, i)
		files[pci+"/uevent"], files[pci+"/modalias"] = "", "pci:v00001AF4d00001000\n"
		files[dev+"/uevent"], files[dev+"/modalias"] = "", "virtio:d00000001v00001AF4\n"
		files[dev+"/driver"] = "-> ../../../../bus/virtio/drivers/virtio_net"
		files[dev+"/net/"+name+"/uevent"] = ""
		files[dev+"/net/"+name+"/device"] = "-> ../.."
		files["sys/class/net/"+name] = "-> ../../../" + dev + "/net/" + name
	}
	return files
}

const server = "10.1.2.9"

// oneCard is a machine with eth0 alone.
func oneCard(edit ...func(*fakeNetwork)) *fakeNetwork {
	f := &fakeNetwork{
		links:     []rtnl.Link{nic(2, "eth0")},
		addresses: []rtnl.Address{addr(2, "10.1.2.3/24"), addr(2, "10.1.2.77/24")},
		routes:    []rtnl.Route{to("10.1.2.0/24", "", "10.1.2.3", 2), to("0.0.0.0/0", "10.1.2.1", "10.1.2.3", 2)},
	}
	for _, e := range edit {
		e(f)
	}
	return f
}

// over is oneCard whose route and addresses are on another link.
func over(links ...rtnl.Link) *fakeNetwork {
	top := links[len(links)-1].Index
	f := &fakeNetwork{links: links}
	for _, a := range oneCard().addresses {
		a.Index = top
		f.addresses = append(f.addresses, a)
	}
	for _, r := range oneCard().routes {
		r.Index = top
		f.routes = append(f.routes, r)
	}
	return f
}

func TestNetwork(t *testing.T) {
	eth0, eth1 := nic(2, "eth0"), nic(3, "eth1")
	port := func(l rtnl.Link, master int) rtnl.Link {
		return edited(l, func(l *rtnl.Link) { l.Master = master; l.Address = "52:54:00:00:00:99" })
	}
	bond := func(mode int) rtnl.Link {
		return virtual(4, "bond0", "bond", func(l *rtnl.Link) { l.BondMode, l.Address, l.BondActive = mode, "52:54:00:00:00:99", 3 })
	}
	vlan := func(index, below int, mac string) rtnl.Link {
		return virtual(index, "vlan5", "vlan", func(l *rtnl.Link) { l.Below, l.VLANID, l.VLANProtocol, l.Address = below, 5, unix.ETH_P_8021Q, mac })
	}
	for _, c := range []struct {
		name    string
		network *fakeNetwork
		files   map[string]string
		servers string
		want    string
	}{
		{"neighbour", oneCard(), nil, server, "eth0 52:54:00:00:00:02; 10.1.2.3/24; ; virtio_net af_packet"},
		{"by the gateway", oneCard(), nil, "203.0.113.1", "eth0 52:54:00:00:00:02; 10.1.2.3/24; 0.0.0.0/0 via 10.1.2.1; virtio_net af_packet"},
		{"several addresses of the server", oneCard(func(f *fakeNetwork) {
			f.addresses = append(f.addresses, addr(2, "2001:db8::3/64"))
			f.routes = append(f.routes, to("2001:db8:1::/48", "fe80::1", "2001:db8::3", 2))
		}), nil, "203.0.113.1 2001:db8:9::9 2001:db8:1::9", "eth0 52:54:00:00:00:02; 10.1.2.3/24 2001:db8::3/64; 0.0.0.0/0 via 10.1.2.1 2001:db8:1::/48 via fe80::1; virtio_net ipv6 af_packet; reaches 203.0.113.1 2001:db8:1::9"},
		{"MTU that the path showed", oneCard(func(f *fakeNetwork) { f.learned = 1300 }), nil, "203.0.113.1", "eth0 52:54:00:00:00:02; 10.1.2.3/24; 0.0.0.0/0 via 10.1.2.1; virtio_net af_packet"},
		{"temporary address", oneCard(func(f *fakeNetwork) {
			f.addresses = []rtnl.Address{withFlags(addr(2, "2001:db8::aaaa/64"), unix.IFA_F_TEMPORARY), addr(2, "2001:db8::3/64")}
			f.routes = []rtnl.Route{to("::/0", "fe80::1", "2001:db8::aaaa", 2)}
		}), nil, "2001:db8:9::9", "eth0 52:54:00:00:00:02; 2001:db8::3/64; ::/0 via fe80::1; virtio_net ipv6 af_packet"},
		{"address by a router", oneCard(func(f *fakeNetwork) {
			f.addresses = []rtnl.Address{dynamic(addr(2, "2001:db8::3/64"), 0)}
			f.routes = []rtnl.Route{to("::/0", "fe80::1", "2001:db8::3", 2)}
		}), nil, "2001:db8:9::9", "eth0 52:54:00:00:00:02; 2001:db8::3/64 RA; ::/0 via fe80::1; virtio_net ipv6 af_packet"},
		{"temporary address beside that of a router", oneCard(func(f *fakeNetwork) {
			f.addresses = []rtnl.Address{
				dynamic(addr(2, "2001:db8::aaaa/64"), unix.IFA_F_TEMPORARY), dynamic(addr(2, "2001:db8::bbbb/64"), unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED),
				dynamic(addr(2, "2001:db8:1::3/64"), unix.IFA_F_MANAGETEMPADDR), dynamic(addr(2, "2001:db8::3/64"), unix.IFA_F_MANAGETEMPADDR|unix.IFA_F_STABLE_PRIVACY),
			}
			f.routes = []rtnl.Route{to("::/0", "fe80::1", "2001:db8::aaaa", 2)}
		}), nil, "2001:db8:9::9", "eth0 52:54:00:00:00:02; 2001:db8::3/64 RA; ::/0 via fe80::1; virtio_net ipv6 af_packet"},
		{"temporary addresses alone", oneCard(func(f *fakeNetwork) {
			f.addresses = []rtnl.Address{dynamic(addr(2, "2001:db8::aaaa/64"), unix.IFA_F_TEMPORARY), dynamic(addr(2, "2001:db8::3/64"), unix.IFA_F_DEPRECATED)}
			f.routes = []rtnl.Route{to("::/0", "fe80::1", "2001:db8::aaaa", 2)}
		}), nil, "2001:db8:9::9", "eth0 52:54:00:00:00:02; 2001:db8::aaaa/64 RA; ::/0 via fe80::1; virtio_net ipv6 af_packet"},
		{"address by hand, route by a router", oneCard(func(f *fakeNetwork) {
			f.addresses = []rtnl.Address{addr(2, "2001:db8::3/64")}
			f.routes = []rtnl.Route{to("::/0", "fe80::1", "2001:db8::3", 2)}
			f.routes[0].Protocol = unix.RTPROT_RA
		}), nil, "2001:db8:9::9", "eth0 52:54:00:00:00:02; 2001:db8::3/64 RA; ::/0 via fe80::1; virtio_net ipv6 af_packet"},
		{"address by DHCPv6, route by hand", oneCard(func(f *fakeNetwork) {
			f.addresses = []rtnl.Address{dynamic(addr(2, "2001:db8::3/128"), 0)}
			f.routes = []rtnl.Route{to("::/0", "fe80::1", "2001:db8::3", 2)}
		}), nil, "2001:db8:9::9", "eth0 52:54:00:00:00:02; 2001:db8::3/128; ::/0 via fe80::1; virtio_net ipv6 af_packet"},
		{"address of the loopback link, routed by BGP", oneCard(func(f *fakeNetwork) {
			f.links = append(f.links, rtnl.Link{Index: 1, Name: "lo", Type: unix.ARPHRD_LOOPBACK})
			f.addresses = []rtnl.Address{addr(1, "192.0.2.7/32")}
			f.routes = []rtnl.Route{to("0.0.0.0/0", "fe80::1", "192.0.2.7", 2)}
		}), nil, server, "eth0 52:54:00:00:00:02; 192.0.2.7/32; 0.0.0.0/0 via fe80::1; virtio_net af_packet"},
		{"route without the entry of the table", oneCard(func(f *fakeNetwork) {
			f.routes = []rtnl.Route{to("203.0.113.1/32", "10.1.2.1", "10.1.2.3", 2)}
		}), nil, "203.0.113.1", "eth0 52:54:00:00:00:02; 10.1.2.3/24; 203.0.113.1/32 via 10.1.2.1; virtio_net af_packet"},
		{"own address of the card is not the permanent one", over(edited(eth0, func(l *rtnl.Link) { l.Address = "02:00:00:00:00:01"; l.MTU = 9000 })), nil, server, "eth0 52:54:00:00:00:02 mtu 9000 address 02:00:00:00:00:01; 10.1.2.3/24; ; virtio_net af_packet"},
		{"no permanent address", over(edited(eth0, func(l *rtnl.Link) { l.Permanent = "" })), nil, server, "eth0 pci0000:00/0000:00:03.0/virtio0 address 52:54:00:00:00:02; 10.1.2.3/24; ; virtio_net af_packet"},
		{"permanent by sysfs alone", over(edited(eth0, func(l *rtnl.Link) { l.Permanent = "" })), map[string]string{"sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/addr_assign_type": "0\n"}, server, "eth0 52:54:00:00:00:02; 10.1.2.3/24; ; virtio_net af_packet"},
		{"VLAN", over(eth0, vlan(5, 2, eth0.Address)), nil, server, "eth0 52:54:00:00:00:02, vlan5 id 5; 10.1.2.3/24; ; virtio_net 8021q af_packet"},
		{"VLAN with an address of its own", over(eth0, vlan(5, 2, "02:00:00:00:00:05")), nil, server, "eth0 52:54:00:00:00:02, vlan5 id 5 address 02:00:00:00:00:05; 10.1.2.3/24; ; virtio_net 8021q af_packet"},
		{"bond, the active port first", over(port(eth0, 4), port(eth1, 4), bond(1)), nil, server, "bond0 of eth1 52:54:00:00:00:03 + eth0 52:54:00:00:00:02 address 52:54:00:00:00:99; 10.1.2.3/24; ; virtio_net virtio_net af_packet"},
		{"bond with addresses of ports", over(port(eth0, 4), bond(1)), map[string]string{"sys/class/net/bond0/bonding/fail_over_mac": "active 1\n"}, server, "bond0 of eth0 52:54:00:00:00:02; 10.1.2.3/24; ; virtio_net af_packet"},
		{"LACP", over(port(eth0, 4), bond(4)), nil, server, "bond0 LACP of eth0 52:54:00:00:00:02 address 52:54:00:00:00:99; 10.1.2.3/24; ; virtio_net bonding af_packet"},
		{"VLAN on a bridge on a bond", over(port(eth0, 4), edited(bond(4), func(l *rtnl.Link) { l.Master = 6 }), virtual(6, "br0", "bridge", func(l *rtnl.Link) { l.Address = "52:54:00:00:00:99" }), vlan(7, 6, "52:54:00:00:00:99")), nil, server,
			"bond0 LACP of eth0 52:54:00:00:00:02 address 52:54:00:00:00:99, vlan5 id 5; 10.1.2.3/24; ; virtio_net bonding 8021q af_packet"},
		{"bridge with virtual machines", over(edited(eth0, func(l *rtnl.Link) { l.Master = 6 }), virtual(8, "vnet0", "tun", func(l *rtnl.Link) { l.Master = 6 }), virtual(6, "br0", "bridge", nil)), nil, server,
			"eth0 52:54:00:00:00:02 address 52:54:00:00:00:06; 10.1.2.3/24; ; virtio_net af_packet"},
		{"bridge, one port without carrier", over(edited(eth0, func(l *rtnl.Link) { l.Master, l.Carrier = 6, false }), edited(eth1, func(l *rtnl.Link) { l.Master = 6 }), virtual(6, "br0", "bridge", func(l *rtnl.Link) { l.Address = eth1.Address })), map[string]string{"sys/class/net/br0/bridge/vlan_filtering": "1\n"}, server,
			"eth1 52:54:00:00:00:03; 10.1.2.3/24; ; virtio_net af_packet; bridge br0 filters VLANs: the capture kernel sends what eth1 sends without a tag"},
		{"802.1X", oneCard(), map[string]string{"run/wpa_supplicant/eth0": ""}, server, "eth0 52:54:00:00:00:02; 10.1.2.3/24; ; virtio_net af_packet; wpa_supplicant runs for eth0: if its switch wants 802.1X, the capture kernel gets no traffic through"},
		{"DHCP", oneCard(func(f *fakeNetwork) { f.addresses[0].Valid = 3600 }), nil, server, "eth0 52:54:00:00:00:02; 10.1.2.3/24 DHCP; ; virtio_net af_packet"},
		{"PHY", oneCard(), map[string]string{
			"sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/phydev":  "-> ../../mdio/phy0",
			"sys/devices/pci0000:00/0000:00:03.0/virtio0/mdio/phy0/driver": "-> ../../../../../../bus/mdio_bus/drivers/RTL8211",
			"sys/bus/mdio_bus/drivers/RTL8211/module":                      "-> ../../../../module/realtek",
			"sys/module/realtek/initstate":                                 "live\n",
		}, server, "eth0 52:54:00:00:00:02; 10.1.2.3/24; ; realtek virtio_net af_packet"},
	} {
		files := cards("eth0", "eth1")
		for k, v := range c.files {
			files[strings.Replace(k, "sys/class/net/eth0/", "sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/", 1)] = v
		}
		h := machine(t, files)
		h.facts = c.network
		var list []netip.Addr
		for s := range strings.FieldsSeq(c.servers) {
			list = append(list, netip.MustParseAddr(s))
		}
		reached, n, err := h.Network("dumps.example.com", list)
		got := fmt.Sprint(err)
		if err == nil {
			got = summary(n)
			if len(list) > 1 {
				got += "; reaches " + strings.Trim(fmt.Sprint(reached), "[]")
			}
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func withFlags(a rtnl.Address, flags uint32) rtnl.Address { a.Flags |= flags; return a }

// dynamic returns an address as the kernel makes it of a router's prefix.
func dynamic(a rtnl.Address, flags uint32) rtnl.Address {
	a.Flags, a.Valid = flags, 86400
	return a
}

// summary is a network in one line: links; addresses; routes; modules; notes.
func summary(n *Network) string {
	var links, addresses, routes, modules []string
	for _, l := range n.Network.Links {
		s := l.Name
		if l.LACP {
			s += " LACP"
		}
		var ports []string
		for _, p := range l.Ports {
			ports = append(ports, p.Name+" "+p.MAC)
		}
		if len(ports) > 0 {
			s += " of " + strings.Join(ports, " + ")
		}
		switch {
		case l.MAC != "":
			s += " " + l.MAC
		case l.Path != "":
			s += " " + l.Path
		}
		if l.ID != 0 {
			s += fmt.Sprint(" id ", l.ID)
		}
		if l.MTU != 1500 {
			s += fmt.Sprint(" mtu ", l.MTU)
		}
		if l.Address != "" {
			s += " address " + l.Address
		}
		links = append(links, s)
	}
	for _, a := range n.Network.Addresses {
		addresses = append(addresses, a.String())
	}
	if n.Network.DHCP {
		addresses = append(addresses, "DHCP")
	}
	if n.Network.RA {
		addresses = append(addresses, "RA")
	}
	for _, r := range n.Network.Routes {
		text := r.To.String() + " via " + r.Via.String()
		if r.MTU != 0 {
			text += fmt.Sprint(" mtu ", r.MTU)
		}
		routes = append(routes, text)
	}
	for _, r := range n.Requests {
		modules = append(modules, r.Names[0])
	}
	out := []string{strings.Join(links, ", "), strings.Join(addresses, " "), strings.Join(routes, " "), strings.Join(modules, " ")}
	return strings.Join(append(out, n.Notes...), "; ")
}

func TestNetworkRefusals(t *testing.T) {
	with := func(kind string) *fakeNetwork { return over(nic(2, "eth0"), virtual(5, "x0", kind, nil)) }
	for _, c := range []struct {
		name    string
		network *fakeNetwork
		files   map[string]string
		want    string // error
		advice  string // a part
	}{
		{"no route", oneCard(func(f *fakeNetwork) { f.routes = nil }), nil, "find the route to 10.1.2.9: network is unreachable", ""},
		{"this machine", oneCard(func(f *fakeNetwork) { f.routes[0].Type = unix.RTN_LOCAL }), nil, "route to dumps: server on this machine 10.1.2.9 is not supported: it ends with the kernel that crashes", "another machine"},
		{"many machines", oneCard(func(f *fakeNetwork) { f.routes[0].Type = unix.RTN_MULTICAST }), nil, "find the route to 10.1.2.9: the address is not that of one machine", ""},
		{"wrapped", oneCard(func(f *fakeNetwork) { f.routes[0].Encap = true }), nil, "route to dumps: route to 10.1.2.9 is not supported: it wraps packets into others", "MODE=emergency"},
		{"no address", oneCard(func(f *fakeNetwork) { f.addresses = nil }), nil, "route to dumps: link eth0 is not supported: no address that could reach 10.1.2.9", ""},
		{"Wi-Fi", oneCard(), map[string]string{"sys/devices/pci0000:00/0000:00:03.0/virtio0/net/eth0/phy80211": ""}, "route to dumps: Wi-Fi link eth0 is not supported: the capture kernel has no wpa_supplicant", "MODE=emergency"},
		{"SR-IOV", oneCard(), map[string]string{"sys/devices/pci0000:00/0000:00:03.0/virtio0/physfn": "x"}, "route to dumps: SR-IOV virtual function eth0 is not supported: it exists only after its card was told to make it", "Ethernet card"},
		{"WireGuard", with("wireguard"), nil, "route to dumps: WireGuard link x0 is not supported: its keys are in no plan", "MODE=emergency"},
		{"team", with("team"), nil, "route to dumps: team x0 is not supported: teamd makes it", ""},
		{"TAP", with("tun"), nil, "route to dumps: TUN or TAP link x0 is not supported: a program of the running system serves it", ""},
		{"veth on a host", with("veth"), nil, "route to dumps: veth link x0 is not supported: its peer is in another network namespace", "Ethernet card"},
		{"veth in a container", over(virtual(5, "x0", "veth", nil)), nil, "route to dumps: veth link x0 is not supported: its peer is in another network namespace", "host's kernel"},
		{"InfiniBand", over(virtual(5, "ib0", "", func(l *rtnl.Link) { l.Type = unix.ARPHRD_INFINIBAND })), nil, "route to dumps: InfiniBand link ib0 is not supported: the capture kernel sets up Ethernet, VLANs and bonds only", ""},
		{"unknown kind", with("geneve"), nil, "route to dumps: geneve link x0 is not supported: the capture kernel sets up Ethernet, VLANs and bonds only", ""},
		{"no hardware", with(""), nil, "route to dumps: virtual link x0 is not supported: no hardware behind it", ""},
		{"bridge of two networks", over(edited(nic(2, "eth0"), func(l *rtnl.Link) { l.Master = 6 }), edited(nic(3, "eth1"), func(l *rtnl.Link) { l.Master = 6 }), virtual(6, "br0", "bridge", nil)), nil, "route to dumps: bridge br0 is not supported: ambiguous which of its ports eth0 and eth1 leads to the server", ""},
		{"bridge of virtual machines alone", over(virtual(8, "vnet0", "tun", func(l *rtnl.Link) { l.Master = 6 }), virtual(6, "br0", "bridge", nil)), nil, "route to dumps: bridge br0 is not supported: no port of it is a network card", ""},
		{"VLAN of a container", over(virtual(5, "v", "vlan", func(l *rtnl.Link) { l.Below, l.Elsewhere = 2, true })), nil, "route to dumps: VLAN v is not supported: the link below belongs to another network namespace", ""},
		{"VLAN on nothing", over(virtual(5, "v", "vlan", func(l *rtnl.Link) { l.Below = 2 })), nil, "route to dumps: link 2, which v uses, does not exist", ""},
		{"VLAN on itself", over(virtual(5, "v", "vlan", func(l *rtnl.Link) { l.Below = 5 })), nil, "route to dumps: stack of links v is not supported: too deep for the capture kernel", ""},
		{"bond without ports", over(virtual(5, "bond0", "bond", nil)), nil, "route to dumps: bond bond0 is not supported: no port", ""},
	} {
		files := cards("eth0", "eth1")
		for k, v := range c.files {
			files[k] = v
		}
		h := machine(t, files)
		h.facts = c.network
		_, _, err := h.Network("dumps", []netip.Addr{netip.MustParseAddr(server)})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, c.want)
			continue
		}
		if a := advice.For(err); !strings.Contains(a, c.advice) || a != "" && !strings.HasSuffix(a, ".") {
			t.Errorf("%s: advice %q", c.name, a)
		}
		if e := (*NetworkError)(nil); errors.As(err, &e) != (c.advice != "" || strings.Contains(c.want, "not supported")) {
			t.Errorf("%s: error of type %T", c.name, err)
		}
	}
}

func TestNetworkOfAnotherRoot(t *testing.T) {
	h := machine(t, nil)
	_, _, err := h.Network("x", nil)
	if err == nil || !strings.HasPrefix(err.Error(), "read the network of ") {
		t.Errorf("got %v", err)
	}
}

func TestFromDHCP(t *testing.T) {
	bootp := make([]byte, 300)
	copy(bootp[16:], []byte{10, 1, 2, 3})
	for name, c := range map[string]struct {
		file, content string
		want          bool
	}{
		"none":                       {"etc/hostname", "10.1.2.3", false},
		"networkd":                   {"run/systemd/netif/leases/2", "ADDRESS=10.1.2.3\n", true},
		"networkd, another link":     {"run/systemd/netif/leases/3", "ADDRESS=10.1.2.3\n", false},
		"NetworkManager":             {"var/lib/NetworkManager/internal-7ab0-eth0.lease", "# This is private data. Do not parse.\nADDRESS=10.1.2.3\n", true},
		"NetworkManager, an old one": {"var/lib/NetworkManager/internal-7ab0-eth0.lease", "ADDRESS=10.1.2.34\nSERVER=110.1.2.3\n", false},
		"dhclient":                   {"var/lib/dhcp/dhclient.eth0.leases", "lease {\n  fixed-address 10.1.2.3;\n}\n", true},
		"dhcpcd":                     {"var/lib/dhcpcd/eth0.lease", string(bootp), true},
		"dhcpcd, cut off":            {"var/lib/dhcpcd/eth0.lease", string(bootp[:30]), false},
		"ipconfig, static":           {"run/net-eth0.conf", "PROTO='none'\nIPV4ADDR='10.1.2.3'\n", false},
		"ipconfig":                   {"run/net-eth0.conf", "PROTO='dhcp'\nIPV4ADDR='10.1.2.3'\n", true},
	} {
		h := machine(t, map[string]string{c.file: c.content})
		if got := h.fromDHCP(addr(2, "10.1.2.3/24")); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	h := machine(t, nil)
	if a := addr(2, "2001:db8::3/64"); h.fromDHCP(rtnl.Address{Index: 2, Prefix: a.Prefix, Valid: 60}) {
		t.Error("an IPv6 address")
	}
}

func TestResolveServer(t *testing.T) {
	for name, want := range map[string]string{"192.0.2.1": "[192.0.2.1]", "[2001:db8::1]": "[2001:db8::1]", "::ffff:192.0.2.1": "[192.0.2.1]", "fe80::1%eth0": "[fe80::1%eth0]"} {
		got, err := ResolveServer(name)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, err := ResolveServer("name.invalid."); err == nil || !strings.HasPrefix(err.Error(), "resolve the server: ") {
		t.Errorf("got %v", err)
	}
}

func TestOrdered(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "[]",
		"192.0.2.2 192.0.2.1 192.0.2.2":        "[192.0.2.1 192.0.2.2]",
		"192.0.2.2 2001:db8::1 192.0.2.1":      "[192.0.2.1 192.0.2.2 2001:db8::1]",
		"2001:db8::2 192.0.2.1 2001:db8::1":    "[2001:db8::1 2001:db8::2 192.0.2.1]",
		"::ffff:192.0.2.2 192.0.2.1 192.0.2.2": "[192.0.2.1 192.0.2.2]",
	} {
		var found []netip.Addr
		for _, a := range strings.Fields(in) {
			found = append(found, netip.MustParseAddr(a))
		}
		if got := fmt.Sprint(ordered(found)); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// The running kernel gives some answer, and what it answers is a plan.
func TestNetworkOfThisMachine(t *testing.T) {
	h, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"192.0.2.1", "2001:db8::1", "127.0.0.1"} {
		_, n, err := h.Network(s, []netip.Addr{netip.MustParseAddr(s)})
		if err != nil {
			t.Logf("%s: %v", s, err)
			continue
		}
		b, _ := json.Marshal(n)
		t.Logf("%s: %s", s, b)
	}
	if _, err := os.Stat("/sys/class/net/lo"); err == nil {
		if _, _, err := h.Network("x", []netip.Addr{netip.MustParseAddr("127.0.0.1")}); err == nil {
			t.Error("the loopback address leads out of the machine")
		}
	}
}

// Addresses that the kernel does not use, or of another link, are not assigned.
func TestAssigned(t *testing.T) {
	flagged := func(index int, prefix string, flags uint32) rtnl.Address {
		a := addr(index, prefix)
		a.Flags = flags
		return a
	}
	top := nic(2, "eth0")
	w := walk{addresses: []rtnl.Address{
		addr(2, "10.1.2.3/24"), addr(3, "10.1.2.4/24"), addr(2, "fd00::3/64"), flagged(2, "fd00::4/64", unix.IFA_F_TENTATIVE),
		flagged(2, "fd00::5/64", unix.IFA_F_DEPRECATED), flagged(2, "fd00::6/64", unix.IFA_F_DADFAILED), flagged(2, "fd00::7/64", 0),
	}}
	if err := w.setAddresses(top); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(w.out.Assigned); got != "[10.1.2.3/24 fd00::3/64 fd00::7/64]" {
		t.Errorf("got %s", got)
	}
}

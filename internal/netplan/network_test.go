package netplan

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNetworkValidate(t *testing.T) {
	port := func() Link { return Link{Kind: Ethernet, Name: "eth0", MAC: "52:54:00:00:00:01", MTU: 1500} }
	for _, c := range []struct {
		name string
		edit func(*Network)
		want string // empty if valid
	}{
		{"one card", func(*Network) {}, ""},
		{"no link", func(n *Network) { n.Links = nil }, "network.links is empty"},
		{"no address", func(n *Network) { n.Addresses = nil }, "network.addresses is empty"},
		{"no address but DHCP", func(n *Network) { n.Addresses, n.DHCP = nil, true }, ""},
		{"address of many", func(n *Network) { n.Addresses[0] = netip.MustParsePrefix("224.0.0.1/24") }, `network.addresses[0] is "224.0.0.1/24"`},
		{"VLAN on a bond", func(n *Network) {
			n.Links = []Link{{Kind: Bond, Name: "bond0", Ports: []Link{port(), port()}, LACP: true}, {Kind: VLAN, Name: "bond0.5", ID: 5, Protocol: 0x88a8}}
		}, ""},
		{"bond without ports", func(n *Network) { n.Links[0] = Link{Kind: Bond, Name: "bond0"} }, "network.links[0].ports has 0 entries"},
		{"bond of bonds", func(n *Network) {
			n.Links[0] = Link{Kind: Bond, Name: "bond0", Ports: []Link{{Kind: Bond, Name: "bond1", Ports: []Link{port()}}}}
		}, `network.links[0].ports[0].kind is "bond"`},
		{"VLAN alone", func(n *Network) { n.Links[0] = Link{Kind: VLAN, Name: "v", ID: 5} }, "network.links[0].id is 5, or there is no link below"},
		{"VLAN 4095", func(n *Network) { n.Links = append(n.Links, Link{Kind: VLAN, Name: "v", ID: 4095}) }, "network.links[1].id is 4095, or there is no link below"},
		{"VLAN of a strange protocol", func(n *Network) { n.Links = append(n.Links, Link{Kind: VLAN, Name: "v", ID: 5, Protocol: 7}) }, "network.links[1].protocol is 0x7"},
		{"card on a card", func(n *Network) { n.Links = append(n.Links, port()) }, `network.links[1].kind is "ethernet", but another link is below`},
		{"name with a slash", func(n *Network) { n.Links[0].Name = "../x" }, `network.links[0].name is "../x"`},
		{"nothing identifies the card", func(n *Network) { n.Links[0].MAC = "" }, "network.links[0].mac and path are empty: nothing identifies the port"},
		{"bad address of a card", func(n *Network) { n.Links[0].MAC = "52:54:00:00:00:0G" }, `network.links[0].mac is "52:54:00:00:00:0G"`},
		{"huge MTU", func(n *Network) { n.Links[0].MTU = 1 << 20 }, "network.links[0].mtu is 1048576"},
		{"route with host bits", func(n *Network) { n.Routes = []Route{{To: netip.MustParsePrefix("10.0.0.1/8")}} }, `network.routes[0].to is "10.0.0.1/8"`},
		{"route to nowhere", func(n *Network) { n.Routes = []Route{{}} }, `network.routes[0].to is "invalid Prefix"`},
		{"source of the other family", func(n *Network) {
			n.Routes = []Route{{To: netip.MustParsePrefix("::/0"), From: netip.MustParseAddr("10.0.0.1")}}
		}, `network.routes[0].from is "10.0.0.1"`},
		{"gateway of the other family", func(n *Network) {
			n.Routes = []Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("fe80::1")}}
		}, ""},
	} {
		n := &Network{Links: []Link{port()}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}}
		c.edit(n)
		got := ""
		if err := n.Validate(); err != nil {
			got = strings.TrimSpace(err.Error())
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

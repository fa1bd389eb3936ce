package netplan

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Network is the way to a server when the image was built.
type Network struct {
	// Links to set up, the lowest first. The last one has the addresses.
	Links     []Link         `json:"links"`
	Addresses []netip.Prefix `json:"addresses"`        // of the last link; with the address that reaches the server first
	Routes    []Route        `json:"routes,omitempty"` // beyond those of the addresses
	// DHCP says that the IPv4 address comes from DHCP: if the recorded one does not
	// reach the server, a new one is asked for.
	DHCP bool `json:"dhcp,omitempty"`
	// RA says that an IPv6 address or the route to the server comes from router
	// advertisements (RFC 4862): if the recorded ones do not reach the server, those that
	// routers advertise then replace them.
	RA bool `json:"ra,omitempty"`
}

// LinkKind is the kind of a network link.
type LinkKind string

// The kinds of links.
const (
	Ethernet LinkKind = "ethernet" // a network card
	VLAN     LinkKind = "vlan"     // 802.1Q on the link before it
	Bond     LinkKind = "bond"     // several cards; see Link.Ports
)

// Link is one network interface.
type Link struct {
	Kind LinkKind `json:"kind"`
	Name string   `json:"name"`           // when the image was built: eth0; a hint and for messages
	MAC  string   `json:"mac,omitempty"`  // permanent address of an Ethernet port, which identifies it
	Path string   `json:"path,omitempty"` // its sysfs path below /sys/devices, for a port without a permanent address
	// Address is the link's address now, if it is not MAC: of a bond, or set by hand.
	Address string `json:"address,omitempty"`
	MTU     int    `json:"mtu,omitempty"` // bytes
	ID      int    `json:"id,omitempty"`  // of a VLAN
	// Protocol of a VLAN as EtherType: 0 is 0x8100 (802.1Q), else 0x88a8 (802.1ad).
	Protocol int `json:"protocol,omitempty"`
	// Ports of a bond. Those with carrier are used; LACP says that the switch needs
	// a bond of mode 802.3ad, otherwise one port is enough and no bond is made.
	Ports []Link `json:"ports,omitempty"`
	LACP  bool   `json:"lacp,omitempty"`
}

// Route is one route of the last link.
type Route struct {
	To      netip.Prefix `json:"to"`            // 0.0.0.0/0 or ::/0 is the default route
	Via     netip.Addr   `json:"via,omitzero"`  // gateway; on the link if not set
	From    netip.Addr   `json:"from,omitzero"` // preferred source address
	OnLink  bool         `json:"onlink,omitempty"`
	Metric  int          `json:"metric,omitempty"`
	MTU     int          `json:"mtu,omitempty"`      // of the path, if the route has one
	Locking bool         `json:"mtu_lock,omitempty"` // no path MTU discovery
}

// Limits of a Network.
const (
	maxLinks     = 8
	maxPorts     = 32
	maxAddresses = 32
	maxRoutes    = 256
	maxMTU       = 65536
)

// Validate returns an error for the first entry that cannot be set up.
func (n *Network) Validate() error { return n.validate() }

func (n *Network) validate() error {
	switch {
	case len(n.Links) == 0:
		return errors.New("network.links is empty")
	case len(n.Links) > maxLinks:
		return fmt.Errorf("network.links has %d entries", len(n.Links))
	case len(n.Addresses) == 0 && !n.DHCP:
		return errors.New("network.addresses is empty")
	case len(n.Addresses) > maxAddresses:
		return fmt.Errorf("network.addresses has %d entries", len(n.Addresses))
	case len(n.Routes) > maxRoutes:
		return fmt.Errorf("network.routes has %d entries", len(n.Routes))
	}
	for i := range n.Links {
		if err := n.Links[i].validate(i); err != nil {
			return fmt.Errorf("network.links[%d].%w", i, err)
		}
	}
	for i, a := range n.Addresses {
		if !a.IsValid() || !usable(a.Addr()) {
			return fmt.Errorf("network.addresses[%d] is %q", i, a)
		}
	}
	for i := range n.Routes {
		if err := n.Routes[i].validate(); err != nil {
			return fmt.Errorf("network.routes[%d].%w", i, err)
		}
	}
	return nil
}

// usable reports whether a machine or gateway may have the address.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6() && a.Zone() == ""
}

func (l *Link) validate(nth int) error {
	switch {
	case l.Name == "" || len(l.Name) > 15 || strings.ContainsAny(l.Name, "/: \x00") || l.Name == "." || l.Name == "..":
		// dev_valid_name() in net/core/dev.c; IFNAMSIZ in linux/if.h
		return fmt.Errorf("name is %q", l.Name)
	case l.Kind == Ethernet && l.MAC == "" && l.Path == "":
		return errors.New("mac and path are empty: nothing identifies the port")
	case l.Kind == VLAN && (nth == 0 || l.ID < 1 || l.ID > 4094):
		return fmt.Errorf("id is %d, or there is no link below", l.ID)
	case l.Kind == VLAN && l.Protocol != 0 && l.Protocol != 0x8100 && l.Protocol != 0x88a8:
		return fmt.Errorf("protocol is %#x", l.Protocol)
	case l.Kind != VLAN && nth > 0:
		return fmt.Errorf("kind is %q, but another link is below", l.Kind)
	case l.Kind == Bond && (len(l.Ports) == 0 || len(l.Ports) > maxPorts):
		return fmt.Errorf("ports has %d entries", len(l.Ports))
	case l.Kind != Bond && len(l.Ports) > 0:
		return fmt.Errorf("ports of kind %q", l.Kind)
	case l.Kind != Ethernet && l.Kind != VLAN && l.Kind != Bond:
		return fmt.Errorf("kind is %q", l.Kind)
	case l.MTU < 0 || l.MTU > maxMTU:
		return fmt.Errorf("mtu is %d", l.MTU)
	case l.MAC != "" && !isMAC(l.MAC):
		return fmt.Errorf("mac is %q", l.MAC)
	case l.Address != "" && !isMAC(l.Address):
		return fmt.Errorf("address is %q", l.Address)
	}
	for i := range l.Ports {
		p := &l.Ports[i]
		err := p.validate(0)
		if err == nil && p.Kind != Ethernet {
			err = fmt.Errorf("kind is %q", p.Kind)
		}
		if err != nil {
			return fmt.Errorf("ports[%d].%w", i, err)
		}
	}
	return nil
}

// isMAC reports whether s is an Ethernet address in the form of ip-link(8).
func isMAC(s string) bool {
	for i := range len(s) {
		if sep := i%3 == 2; sep && s[i] != ':' || !sep && !strings.Contains("0123456789abcdef", s[i:i+1]) {
			return false
		}
	}
	return len(s) == 17
}

func (r *Route) validate() error {
	switch {
	case !r.To.IsValid() || r.To.Addr().Is4In6() || r.To != r.To.Masked():
		return fmt.Errorf("to is %q", r.To)
	case r.Via.IsValid() && !usable(r.Via):
		return fmt.Errorf("via is %q", r.Via)
	case r.From.IsValid() && (!usable(r.From) || r.From.Is4() != r.To.Addr().Is4()):
		return fmt.Errorf("from is %q", r.From)
	case r.MTU < 0 || r.MTU > maxMTU:
		return fmt.Errorf("mtu is %d", r.MTU)
	case r.Metric < 0 || int64(r.Metric) > 1<<32-1:
		return fmt.Errorf("metric is %d", r.Metric)
	}
	return nil
}

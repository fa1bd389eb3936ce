package netplan

import (
	"errors"
	"fmt"
	"net/netip"
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

func (n *Network) validate() error {
	if len(n.Links) == 0 {
		return errors.New("network.links is empty")
	}
	for i, l := range n.Links {
		if err := l.validate(i); err != nil {
			return fmt.Errorf("network.links[%d].%w", i, err)
		}
	}
	if len(n.Addresses) == 0 && !n.DHCP {
		return errors.New("network.addresses is empty")
	}
	return nil
}

func (l *Link) validate(nth int) error {
	switch {
	case l.Name == "" || len(l.Name) > 15: // IFNAMSIZ, linux/if.h
		return fmt.Errorf("name is %q", l.Name)
	case l.Kind == Ethernet && l.MAC == "" && l.Path == "":
		return errors.New("mac and path are empty: nothing identifies the port")
	case l.Kind == VLAN && (nth == 0 || l.ID < 1 || l.ID > 4094):
		return fmt.Errorf("id is %d, or there is no link below", l.ID)
	case l.Kind == Bond && len(l.Ports) == 0:
		return errors.New("ports is empty")
	case l.Kind != Ethernet && l.Kind != VLAN && l.Kind != Bond:
		return fmt.Errorf("kind is %q", l.Kind)
	}
	for i := range l.Ports {
		if err := l.Ports[i].validate(i); err != nil {
			return fmt.Errorf("ports[%d].%w", i, err)
		}
	}
	return nil
}

package netconf

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// bond sets up a bond. For all modes but 802.3ad, one port with a carrier that has the
// bond's address is enough.
func (s *setup) bond(want *netplan.Link) (rtnl.Link, error) {
	ports, err := s.ports(want.Ports)
	if err != nil {
		return rtnl.Link{}, err
	}
	if !want.LACP {
		return s.oneOf(want, ports)
	}
	l, err := s.lacp(want, ports)
	if errors.Is(err, unix.EOPNOTSUPP) { // Linux without bonding
		s.log("%v: falling back to one port of %s", err, want.Name)
		return s.oneOf(want, ports)
	}
	return l, err
}

// lacp makes the bond of mode 802.3ad, unless it exists, with all ports.
func (s *setup) lacp(want *netplan.Link, ports []rtnl.Link) (rtnl.Link, error) {
	is := func(l rtnl.Link) bool {
		mine := slices.ContainsFunc(ports, func(p rtnl.Link) bool { return p.Master == l.Index })
		return l.Kind == "bond" && l.BondMode == rtnl.BondLACP && (mine || l.Name == want.Name)
	}
	l, err := s.make(want.Name, is, s.addBond(ports))
	if err != nil {
		return l, fmt.Errorf("add bond %s: %w", want.Name, err)
	}
	s.setAddress(&l, want.Address)
	used := 0
	for _, p := range ports {
		if err = s.enslave(p, l); err != nil {
			s.log("add %s to %s: %v", p.Name, l.Name, err)
			continue
		}
		used++
	}
	if used == 0 {
		return l, fmt.Errorf("add ports to %s: %w", l.Name, err)
	}
	// The address is set already, and the MTU is passed on to the ports.
	wanted := netplan.Link{MTU: want.MTU}
	if err := s.prepare(&l, &wanted); err != nil {
		return l, err
	}
	return s.await(want.Name, []rtnl.Link{l})
}

// addBond returns a function that makes a bond. Where it has another name than the
// recorded one, only its ports show that it is the right one: it gets the first at once.
func (s *setup) addBond(ports []rtnl.Link) func(name string) error {
	return func(name string) error {
		if err := s.conn.AddBond(name); err != nil {
			return err
		}
		links, err := s.conn.Links()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(links, func(l rtnl.Link) bool { return l.Name == name })
		if i < 0 {
			return fmt.Errorf("link %s is missing", name)
		}
		if err := s.enslave(ports[0], links[i]); err != nil {
			return err
		}
		ports[0].Master = links[i].Index
		return nil
	}
}

// enslave makes p a port of the bond, for which it has to be down.
func (s *setup) enslave(p, bond rtnl.Link) error {
	if p.Master == bond.Index {
		return nil
	}
	if p.Up() {
		if err := s.conn.SetUp(p.Index, false); err != nil {
			return err
		}
	}
	s.setIPv6(p.Name)
	return s.conn.SetMaster(p.Index, bond.Index)
}

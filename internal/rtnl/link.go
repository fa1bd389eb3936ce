package rtnl

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BondLACP is the mode of a bond for IEEE 802.3ad (linux/if_bonding.h).
const BondLACP = 4

// Operational states of a link (RFC 2863, linux/if.h).
const (
	OperUnknown = 0 // the driver does not report one
	OperUp      = 6
)

// Link is a network link. Hardware addresses are texts as of FormatMAC.
type Link struct {
	Index     int
	Name      string
	Type      int    // ARPHRD_*, linux/if_arp.h
	Flags     uint32 // IFF_*, linux/if.h
	Kind      string // vlan, bond, bridge, veth, …; "" for most drivers of hardware
	Address   string
	Permanent string // hardware address that the card was made with; "" if not known
	MTU       int    // bytes
	MaxMTU    int    // bytes; 0 if not known
	Below     int    // index of the link that this one is on; of a veth its peer
	Master    int    // index of the bond or bridge that this one is a port of; 0 if none
	Elsewhere bool   // Below is in another network namespace
	OperState int
	Carrier   bool // known only while the link is up

	VLANID       int
	VLANProtocol int // EtherType
	BondMode     int
	BondActive   int // index of the active port; 0 if there is none
}

// Up reports whether the link is set up by its administrator.
func (l Link) Up() bool { return l.Flags&unix.IFF_UP != 0 }

// Ready reports whether the link can carry packets now.
func (l Link) Ready() bool {
	return l.Up() && l.Carrier && (l.OperState == OperUp || l.OperState == OperUnknown)
}

// Links returns all links of the network namespace.
func (c *Conn) Links() ([]Link, error) {
	var list []Link
	m := newMessage(unix.RTM_GETLINK, ifinfo(0, 0, 0)...)
	err := c.dump(m, unix.RTM_NEWLINK, func() { list = nil }, func(b []byte) error {
		l, err := parseLink(b)
		if err == nil {
			list = append(list, l)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list network links: %w", err)
	}
	for i := range list {
		// Kernels before 5.6 have no IFLA_PERM_ADDRESS.
		if l := &list[i]; l.Permanent == "" && l.Type == unix.ARPHRD_ETHER && l.Kind == "" {
			l.Permanent = permanent(l.Name)
		}
	}
	return list, nil
}

// ifinfo returns a struct ifinfomsg.
func ifinfo(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	ne.PutUint32(b[4:], uint32(index))
	ne.PutUint32(b[8:], flags)
	ne.PutUint32(b[12:], change)
	return b
}

// parseLink reads the body of an RTM_NEWLINK.
func parseLink(b []byte) (l Link, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return l, errShort
	}
	l.Type, l.Index, l.Flags = int(ne.Uint16(b[2:])), index(b[4:8]), ne.Uint32(b[8:])
	l.Carrier = l.Flags&unix.IFF_LOWER_UP != 0
	err = attributes(b[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) error {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = plainText(v)
		case unix.IFLA_ADDRESS:
			l.Address = FormatMAC(v[:min(len(v), 32)])
		case unix.IFLA_PERM_ADDRESS:
			l.Permanent = FormatMAC(v[:min(len(v), 32)])
		case unix.IFLA_MTU:
			l.MTU = number(v)
		case unix.IFLA_MAX_MTU:
			l.MaxMTU = number(v)
		case unix.IFLA_LINK:
			l.Below = index(v)
		case unix.IFLA_LINK_NETNSID:
			l.Elsewhere = true
		case unix.IFLA_MASTER:
			l.Master = index(v)
		case unix.IFLA_OPERSTATE:
			l.OperState = number(v)
		case unix.IFLA_CARRIER:
			l.Carrier = number(v) == 1
		case unix.IFLA_LINKINFO:
			return l.parseInfo(v)
		}
		return nil
	})
	return l, err
}

// parseInfo reads an IFLA_LINKINFO. The kind comes before its data.
func (l *Link) parseInfo(b []byte) error {
	return attributes(b, func(typ uint16, v []byte) error {
		switch {
		case typ == unix.IFLA_INFO_KIND:
			l.Kind = plainText(v)
		case typ == unix.IFLA_INFO_DATA && l.Kind == "vlan":
			return attributes(v, func(typ uint16, v []byte) error {
				switch {
				case typ == unix.IFLA_VLAN_ID:
					l.VLANID = number(v)
				case typ == unix.IFLA_VLAN_PROTOCOL && len(v) == 2:
					l.VLANProtocol = int(v[0])<<8 | int(v[1])
				}
				return nil
			})
		case typ == unix.IFLA_INFO_DATA && l.Kind == "bond":
			return attributes(v, func(typ uint16, v []byte) error {
				switch typ {
				case unix.IFLA_BOND_MODE:
					l.BondMode = number(v)
				case unix.IFLA_BOND_ACTIVE_SLAVE:
					l.BondActive = index(v)
				}
				return nil
			})
		}
		return nil
	})
}

// SetUp sets a link up or down.
func (c *Conn) SetUp(index int, up bool) error {
	flags := uint32(0)
	if up {
		flags = unix.IFF_UP
	}
	return c.set(newMessage(unix.RTM_NEWLINK, ifinfo(index, flags, unix.IFF_UP)...))
}

// SetMTU sets the MTU of a link, in bytes.
func (c *Conn) SetMTU(index, bytes int) error {
	m := newMessage(unix.RTM_NEWLINK, ifinfo(index, 0, 0)...)
	m.uint32(unix.IFLA_MTU, uint32(bytes))
	return c.set(m)
}

// SetAddress sets the hardware address of a link. Many drivers permit that only while
// the link is down.
func (c *Conn) SetAddress(index int, mac string) error {
	b, err := ParseMAC(mac)
	if err != nil {
		return err
	}
	m := newMessage(unix.RTM_NEWLINK, ifinfo(index, 0, 0)...)
	m.attr(unix.IFLA_ADDRESS, b...)
	return c.set(m)
}

// SetMaster makes a link a port of a bond or bridge; 0 ends that.
func (c *Conn) SetMaster(index, master int) error {
	m := newMessage(unix.RTM_NEWLINK, ifinfo(index, 0, 0)...)
	m.uint32(unix.IFLA_MASTER, uint32(master))
	return c.set(m)
}

// create is a request for a new link.
func create(name string) *message {
	m := newMessage(unix.RTM_NEWLINK, ifinfo(0, 0, 0)...)
	m.text(unix.IFLA_IFNAME, name)
	return m
}

func (c *Conn) create(m *message) error {
	return c.exchange(m, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, func(uint16, []byte) error { return nil })
}

// vlan is the request of AddVLAN.
func vlan(name string, below, id, protocol int) *message {
	m := create(name)
	m.uint32(unix.IFLA_LINK, uint32(below))
	m.nest(unix.IFLA_LINKINFO, func() {
		m.attr(unix.IFLA_INFO_KIND, []byte("vlan")...)
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.attr(unix.IFLA_VLAN_ID, ne.AppendUint16(nil, uint16(id))...)
			m.attr(unix.IFLA_VLAN_PROTOCOL, byte(protocol>>8), byte(protocol))
		})
	})
	return m
}

// AddVLAN makes a VLAN on the link below. protocol is its EtherType: unix.ETH_P_8021Q or
// unix.ETH_P_8021AD.
func (c *Conn) AddVLAN(name string, below, id, protocol int) error {
	return c.create(vlan(name, below, id, protocol))
}

// bond is the request of AddBond. The interval is the one that
// Documentation/networking/bonding.rst suggests.
func bond(name string) *message {
	m := create(name)
	m.nest(unix.IFLA_LINKINFO, func() {
		m.attr(unix.IFLA_INFO_KIND, []byte("bond")...)
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.attr(unix.IFLA_BOND_MODE, BondLACP)
			m.uint32(unix.IFLA_BOND_MIIMON, 100) // milliseconds
		})
	})
	return m
}

// AddBond makes a bond of mode 802.3ad without ports.
func (c *Conn) AddBond(name string) error { return c.create(bond(name)) }

// DeleteLink removes a link that was made by a request.
func (c *Conn) DeleteLink(index int) error {
	return c.set(newMessage(unix.RTM_DELLINK, ifinfo(index, 0, 0)...))
}

// permanent asks the driver for the permanent hardware address by ETHTOOL_GPERMADDR;
// "" if it has none.
func permanent(name string) string {
	var query struct {
		cmd, size uint32 // struct ethtool_perm_addr
		data      [32]byte
	}
	query.cmd, query.size = unix.ETHTOOL_GPERMADDR, uint32(len(query.data))
	var ifr struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], name)
	ifr.data = unsafe.Pointer(&query)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	if errno != 0 || query.size > uint32(len(query.data)) {
		return ""
	}
	return FormatMAC(query.data[:query.size])
}

// Address is an IP address of a link.
type Address struct {
	Index  int
	Prefix netip.Prefix // the address, with the length of its network
	Peer   netip.Addr   // of a point-to-point link
	Scope  int          // RT_SCOPE_*, linux/rtnetlink.h
	Flags  uint32       // IFA_F_*, linux/if_addr.h
	Valid  uint32       // seconds; Forever if unlimited
}

// Forever is an unlimited lifetime.
const Forever = ^uint32(0)

// Addresses returns the IPv4 and IPv6 addresses of all links.
func (c *Conn) Addresses() ([]Address, error) {
	var list []Address
	m := newMessage(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg)...)
	err := c.dump(m, unix.RTM_NEWADDR, func() { list = nil }, func(b []byte) error {
		a, err := parseAddress(b)
		if err == nil && a.Prefix.IsValid() {
			list = append(list, a)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return list, nil
}

// parseAddress reads the body of an RTM_NEWADDR. Of another family than IP, the prefix is
// not valid.
func parseAddress(b []byte) (a Address, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, errShort
	}
	bits := int(b[1])
	a = Address{Flags: uint32(b[2]), Scope: int(b[3]), Index: index(b[4:8]), Valid: Forever}
	var local, address netip.Addr
	err = attributes(b[unix.SizeofIfAddrmsg:], func(typ uint16, v []byte) error {
		switch typ {
		case unix.IFA_LOCAL:
			local = addr(v)
		case unix.IFA_ADDRESS:
			address = addr(v)
		case unix.IFA_FLAGS:
			a.Flags = uint32(number(v))
		case unix.IFA_CACHEINFO: // struct ifa_cacheinfo: preferred, valid, …
			if len(v) >= 8 {
				a.Valid = ne.Uint32(v[4:])
			}
		}
		return nil
	})
	if err != nil || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return a, err
	}
	switch {
	case !local.IsValid():
		local = address
	case address.IsValid() && address != local:
		a.Peer = address
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	return a, nil
}

// address is the request of AddAddress and DeleteAddress.
func address(typ uint16, index int, p netip.Prefix) *message {
	const permanent = unix.IFA_F_PERMANENT | unix.IFA_F_NODAD
	fixed := []byte{family(p.Addr()), byte(p.Bits()), permanent, unix.RT_SCOPE_UNIVERSE}
	m := newMessage(typ, ne.AppendUint32(fixed, uint32(index))...)
	m.attr(unix.IFA_LOCAL, p.Addr().AsSlice()...)
	m.attr(unix.IFA_ADDRESS, p.Addr().AsSlice()...)
	if p.Addr().Is4() && p.Bits() < 31 { // RFC 3021
		v := p.Addr().As4()
		for i := p.Bits(); i < 32; i++ {
			v[i/8] |= 0x80 >> (i % 8)
		}
		m.attr(unix.IFA_BROADCAST, v[:]...)
	}
	return m
}

// AddAddress adds an address to a link, without detection of duplicates. It succeeds if
// the link has it.
func (c *Conn) AddAddress(index int, p netip.Prefix) error {
	return c.exchange(address(unix.RTM_NEWADDR, index, p), unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		func(uint16, []byte) error { return nil })
}

// DeleteAddress removes an address from a link.
func (c *Conn) DeleteAddress(index int, p netip.Prefix) error {
	return c.set(address(unix.RTM_DELADDR, index, p))
}

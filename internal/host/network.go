package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/kmod"
	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// Network is the way to a server as it is now.
type Network struct {
	Network netplan.Network `json:"network"`
	// Devices are those of the network cards and their buses, each after those that it needs.
	Devices  []Device       `json:"devices"`
	Requests []kmod.Request `json:"requests"` // modules, in load order
	Notes    []string       `json:"notes,omitempty"`
	// Assigned are all addresses of the last link that can be used now.
	Assigned []netip.Prefix `json:"-"`
}

// networkFacts is the kernel's knowledge of the network. An *rtnl.Conn has it.
type networkFacts interface {
	Links() ([]rtnl.Link, error)
	Addresses() ([]rtnl.Address, error)
	Route(to netip.Addr, link int) (rtnl.Route, error)
	Match(to netip.Addr, link int) (rtnl.Route, error)
	Close() error
}

// openFacts opens the facts of the running kernel, which are those of the machine only if
// its files are.
func (h *Host) openFacts() (networkFacts, error) {
	switch {
	case h.facts != nil:
		return h.facts, nil
	case h.root != "/":
		return nil, fmt.Errorf("read the network of %s: only that of the running system can be read", h.root)
	}
	return rtnl.Open()
}

// Limits of ResolveServer.
const (
	resolveTime  = 10 * time.Second
	maxAddresses = 16
)

// Route returns the addresses of a server that the network reaches, with the way to them.
// If no addresses are given, it resolves the name. The error is an *AbsentError if a later
// call may succeed without any change of the configuration.
func Route(h *Host, name string, addresses []netip.Addr) (reached []netip.Addr, way *Network, err error) {
	if len(addresses) == 0 {
		if addresses, err = ResolveServer(name); err != nil {
			return nil, nil, err
		}
	}
	return h.Network(name, addresses)
}

// ResolveServer returns the addresses of a server, at most 16. The family that RFC 6724
// prefers comes first. Within a family they are sorted, as name servers change the order
// from answer to answer. name may be an address. It takes at most 10 seconds. The error is
// an *AbsentError: a name server that is cut off also answers that a name does not exist.
func ResolveServer(name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, &AbsentError{fmt.Errorf("resolve the server: %w", err)}
	}
	list := ordered(found)
	if len(list) == 0 {
		return nil, &AbsentError{fmt.Errorf("resolve the server: %s has no address", name)}
	}
	return list, nil
}

// ordered sorts addresses within their families. The first one decides on the family that
// comes first.
func ordered(found []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range found {
		list = append(list, a.Unmap())
	}
	if len(list) == 0 {
		return nil
	}
	first := list[0].Is4()
	slices.SortFunc(list, func(a, b netip.Addr) int {
		if a.Is4() != b.Is4() {
			if a.Is4() == first {
				return -1
			}
			return 1
		}
		return a.Compare(b)
	})
	list = slices.Compact(list)
	return list[:min(len(list), maxAddresses)]
}

// Network returns the way to a server now, and those of its addresses that this way
// reaches. The first address that has a route decides on the link. The error is a
// *NetworkError if the capture kernel could not set the link up, and an *AbsentError if no
// route or no own address exists at the moment.
func (h *Host) Network(server string, addresses []netip.Addr) ([]netip.Addr, *Network, error) {
	facts, err := h.openFacts()
	if err != nil {
		return nil, nil, err
	}
	defer facts.Close()
	w := walk{host: h, facts: facts, server: server}
	if w.links, err = facts.Links(); err != nil {
		return nil, nil, err
	}
	if w.addresses, err = facts.Addresses(); err != nil {
		return nil, nil, err
	}
	reached, err := w.routes(addresses)
	if err != nil {
		return nil, nil, err
	}
	top, err := w.link(w.ways[0].route.Index, "the route")
	if err != nil {
		return nil, nil, err
	}
	if w.out.Network.Links, err = w.chain(top, 0); err != nil {
		return nil, nil, err
	}
	if err := w.setAddresses(top); err != nil {
		return nil, nil, err
	}
	if w.out.Devices, err = h.devices(w.cards...); err != nil {
		return nil, nil, err
	}
	w.requests()
	if err := w.out.Network.Validate(); err != nil {
		return nil, nil, fmt.Errorf("route to %s: %w", server, err)
	}
	return reached, &w.out, nil
}

// walk is one search for the way to a server, from the route down to the cards.
type walk struct {
	host      *Host
	facts     networkFacts
	server    string
	links     []rtnl.Link
	addresses []rtnl.Address
	ways      []way    // to the addresses of the server, all over one link
	cards     []string // paths in sysfs of the network links of hardware
	out       Network
}

// way is the route to one address of the server.
type way struct {
	to    netip.Addr
	route rtnl.Route
	match netip.Prefix // destination of the entry in the routing table; may be invalid
}

// routes finds the routes to the addresses, and drops those over other links than the
// first, and those that are this machine's own.
func (w *walk) routes(addresses []netip.Addr) (reached []netip.Addr, err error) {
	var failed []error
	var own netip.Addr
	for _, a := range addresses {
		link, err := w.zone(a)
		if err != nil {
			return nil, err
		}
		r, err := w.facts.Route(a.WithZone(""), link)
		switch {
		case err != nil:
			failed = append(failed, &AbsentError{err})
			continue
		case r.Type == unix.RTN_LOCAL:
			own = a
			continue
		case r.Type != unix.RTN_UNICAST:
			failed = append(failed, fmt.Errorf("find the route to %v: the address is not that of one machine", a))
			continue
		case len(w.ways) > 0 && w.ways[0].route.Index != r.Index:
			continue
		}
		to := way{to: a.WithZone(""), route: r}
		if m, err := w.facts.Match(to.to, r.Index); err == nil && m.To.Contains(to.to) {
			to.match = m.To.Masked()
			// The other lookup has the MTU that the path showed, for some minutes.
			to.route.MTU, to.route.Locked, to.route.Protocol = m.MTU, m.Locked, m.Protocol
		}
		w.ways = append(w.ways, to)
		reached = append(reached, a)
	}
	switch {
	case len(reached) > 0:
		return reached, nil
	case own.IsValid():
		return nil, &NetworkError{Server: w.server, What: "server on this machine", Name: own.String(), Why: "it ends with the kernel that crashes",
			Remedy: "Set TARGET= to a directory on a disk of this machine, or to a server that is another machine."}
	case len(failed) > 0:
		return nil, failed[0]
	}
	return nil, errors.New("the server has no address")
}

// zone returns the index of the link that the zone of an address names; 0 without zone.
func (w *walk) zone(a netip.Addr) (int, error) {
	if a.Zone() == "" {
		return 0, nil
	}
	i := slices.IndexFunc(w.links, func(l rtnl.Link) bool { return l.Name == a.Zone() })
	if i < 0 {
		return 0, &AbsentError{fmt.Errorf("find the route to %v: no link %s", a, a.Zone())}
	}
	return w.links[i].Index, nil
}

// link returns the link with an index, which user uses.
func (w *walk) link(index int, user string) (rtnl.Link, error) {
	for _, l := range w.links {
		if l.Index == index {
			return l, nil
		}
	}
	return rtnl.Link{}, fmt.Errorf("route to %s: link %d, which %s uses, does not exist", w.server, index, user)
}

// maxDepth bounds links on links. Real ones have three: a VLAN on a bridge on a bond.
const maxDepth = 8

// chain returns the links to set up for l, the lowest first. For example:
//
//	vlan20     VLAN, with the addresses   IFLA_LINK
//	br0        bridge: skipped            port br0 has a carrier
//	bond0      bond                       ports by IFLA_MASTER
//	eno1 eno2  network cards              device
func (w *walk) chain(l rtnl.Link, depth int) ([]netplan.Link, error) {
	if depth == maxDepth {
		return nil, w.refuse(l, "stack of links", "too deep for the capture kernel")
	}
	switch l.Kind {
	case "vlan":
		return w.vlan(l, depth)
	case "bridge":
		return w.bridge(l, depth)
	case "bond":
		return w.bond(l)
	}
	card, err := w.card(l)
	if err != nil {
		return nil, err
	}
	return []netplan.Link{card}, nil
}

func (w *walk) vlan(l rtnl.Link, depth int) ([]netplan.Link, error) {
	if l.Elsewhere {
		return nil, w.refuse(l, "VLAN", "the link below belongs to another network namespace")
	}
	below, err := w.link(l.Below, l.Name)
	if err != nil {
		return nil, err
	}
	chain, err := w.chain(below, depth+1)
	if err != nil {
		return nil, err
	}
	out := netplan.Link{Kind: netplan.VLAN, Name: l.Name, MTU: l.MTU, ID: l.VLANID}
	if l.VLANProtocol != unix.ETH_P_8021Q {
		out.Protocol = l.VLANProtocol
	}
	if l.Address != below.Address {
		out.Address = l.Address
	}
	w.request("8021q", "VLAN "+l.Name)
	return append(chain, out), nil
}

// bridge returns the links of the one port of a bridge that leads out of the machine, with
// the bridge's address: switches and DHCP servers know the machine by it.
func (w *walk) bridge(l rtnl.Link, depth int) ([]netplan.Link, error) {
	var all, ready []rtnl.Link
	for _, p := range w.links {
		outside := p.Kind == "vlan" || p.Kind == "bond" || p.Kind == "" && w.device(p.Name) != ""
		if p.Master != l.Index || !outside {
			continue
		}
		all = append(all, p)
		if p.Ready() {
			ready = append(ready, p)
		}
	}
	if len(ready) == 0 {
		ready = all
	}
	switch {
	case len(ready) == 0:
		return nil, w.refuse(l, "bridge", "no port of it is a network card")
	case len(ready) > 1:
		return nil, w.refuse(l, "bridge", "ambiguous which of its ports "+names(ready)+" leads to the server")
	}
	chain, err := w.chain(ready[0], depth+1)
	if err != nil {
		return nil, err
	}
	if w.host.attr(path.Join(netClass, l.Name), "bridge/vlan_filtering") == "1" {
		w.note("bridge %s filters VLANs: the capture kernel sends what %s sends without a tag", l.Name, ready[0].Name)
	}
	if top := &chain[len(chain)-1]; l.Address != ready[0].Address {
		top.Address = l.Address
		if top.Address == top.MAC {
			top.Address = ""
		}
	}
	return chain, nil
}

// bond returns a bond with its ports, the active one first.
func (w *walk) bond(l rtnl.Link) ([]netplan.Link, error) {
	out := netplan.Link{Kind: netplan.Bond, Name: l.Name, Address: l.Address, MTU: l.MTU, LACP: l.BondMode == rtnl.BondLACP}
	var ports []rtnl.Link
	for _, p := range w.links {
		if p.Master == l.Index {
			ports = append(ports, p)
		}
	}
	rank := func(p rtnl.Link) int {
		switch {
		case p.Index == l.BondActive:
			return 0
		case p.Ready():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(ports, func(a, b rtnl.Link) int { return rank(a) - rank(b) })
	var refused error
	for _, p := range ports {
		card, err := w.card(p)
		if err != nil {
			refused = err
			continue
		}
		card.Address, card.MTU = "", 0 // those of the bond
		out.Ports = append(out.Ports, card)
	}
	switch {
	case len(ports) == 0:
		return nil, w.refuse(l, "bond", "no port")
	case len(out.Ports) == 0:
		return nil, refused
	case refused != nil:
		w.note("bond %s: without a port: %v", l.Name, refused)
	}
	// Then the switch accepts the address of the port alone.
	if mode := w.host.attr(path.Join(netClass, l.Name), "bonding/fail_over_mac"); !out.LACP && mode != "" && !strings.HasPrefix(mode, "none") {
		out.Address = ""
	}
	if out.LACP {
		w.request("bonding", "bond "+l.Name)
	}
	return []netplan.Link{out}, nil
}

func names(links []rtnl.Link) string {
	var s []string
	for _, l := range links {
		s = append(s, l.Name)
	}
	return strings.Join(s, " and ")
}

// netClass has the network links in sysfs (Documentation/ABI/testing/sysfs-class-net).
const netClass = "/sys/class/net"

// device returns the path in sysfs of the device of a link, "" if it has none.
func (w *walk) device(link string) string {
	link = path.Join(netClass, link, "device")
	dir, err := w.host.resolve(link)
	if err != nil || !strings.HasPrefix(dir, "/sys/devices/") || strings.HasPrefix(dir, "/sys/devices/virtual/") || !w.host.exists(dir) {
		return ""
	}
	return dir
}

// card returns a network card. Its permanent address identifies it; where several have
// the same, or it has none, the path does.
func (w *walk) card(l rtnl.Link) (netplan.Link, error) {
	dir := path.Join(netClass, l.Name)
	if err := w.refuseLink(l); err != nil {
		return netplan.Link{}, err
	}
	mac := l.Permanent
	// NET_ADDR_PERM, linux/netdevice.h: the address is the one that the card came with.
	if mac == "" && w.host.attr(dir, "addr_assign_type") == "0" {
		mac = l.Address
	}
	device := w.device(l.Name)
	out := netplan.Link{Kind: netplan.Ethernet, Name: l.Name, MAC: mac, Path: strings.TrimPrefix(device, "/sys/devices/"), MTU: l.MTU}
	if l.Address != mac {
		out.Address = l.Address
	}
	real, err := w.host.resolve(dir)
	if err != nil {
		return out, err
	}
	if w.host.exists("/run/wpa_supplicant/" + l.Name) {
		w.note("wpa_supplicant runs for %s: if its switch wants 802.1X, the capture kernel gets no traffic through", l.Name)
	}
	w.cards = append(w.cards, real)
	return out, nil
}

func (w *walk) note(format string, a ...any) {
	w.out.Notes = append(w.out.Notes, fmt.Sprintf(format, a...))
}

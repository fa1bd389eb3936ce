package host

import (
	"bytes"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/kmod"
	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// setAddresses records the addresses from which the server is reached, and the routes to
// it. It records no others: an address that moves to another machine after a crash, as
// of a cluster, must not be on two machines.
func (w *walk) setAddresses(top rtnl.Link) error {
	n := &w.out.Network
	for _, a := range w.addresses {
		const unusable = unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
		if a.Index == top.Index && a.Flags&unusable == 0 {
			w.out.Assigned = append(w.out.Assigned, a.Prefix)
		}
	}
	for _, to := range w.ways {
		if to.route.Encap {
			return &NetworkError{Server: w.server, What: "route", Name: "to " + to.to.String(), Why: "it wraps packets into others"}
		}
		a, ok := w.source(top, to)
		if !ok {
			// The address may come yet.
			return &AbsentError{&NetworkError{Server: w.server, What: "link", Name: top.Name, Why: "no address that could reach " + to.to.String()}}
		}
		if !slices.Contains(n.Addresses, a.Prefix) {
			n.Addresses = append(n.Addresses, a.Prefix)
			n.DHCP = n.DHCP || a.Index == top.Index && w.host.fromDHCP(a)
		}
		n.RA = n.RA || a.Index == top.Index && fromRouter(a, to.route)
		w.addRoute(to, a.Prefix)
	}
	return nil
}

// source returns the address from which the kernel reaches a server. Of IPv6 it prefers
// one of the same network that is not temporary (RFC 8981).
func (w *walk) source(top rtnl.Link, to way) (rtnl.Address, bool) {
	from := to.route.From
	var found rtnl.Address
	for _, a := range w.addresses {
		ip := a.Prefix.Addr()
		switch {
		case from.IsValid() && ip == from && (a.Index == top.Index || !found.Prefix.IsValid()):
			found = a
		case !from.IsValid() && a.Index == top.Index && !found.Prefix.IsValid() && ip.Is4() == to.to.Is4() && a.Scope == unix.RT_SCOPE_UNIVERSE:
			found = a
		}
	}
	// While duplicate address detection runs, the kernel names ::1 as the source.
	if !found.Prefix.IsValid() || found.Prefix.Addr().IsLoopback() {
		return found, false
	}
	if found.Prefix.Addr().Is6() && found.Flags&unix.IFA_F_TEMPORARY != 0 {
		for _, a := range w.addresses {
			const unusable = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE
			if a.Index == found.Index && a.Prefix.Masked() == found.Prefix.Masked() && a.Flags&unusable == 0 {
				found = a
				break
			}
		}
	}
	// The length is that of the peer's network, or of a network on another link.
	if found.Peer.IsValid() || found.Index != top.Index {
		found.Prefix = netip.PrefixFrom(found.Prefix.Addr(), found.Prefix.Addr().BitLen())
	}
	return found, true
}

// fromRouter reports whether an IPv6 address or the route from it came by router
// advertisement. Programs that handle these in place of the kernel set addresses with a
// lifetime and the protocol of routes, too. An address of DHCPv6 is alone in its network.
func fromRouter(a rtnl.Address, r rtnl.Route) bool {
	autoconf := a.Flags&unix.IFA_F_PERMANENT == 0 && a.Prefix.Bits() < a.Prefix.Addr().BitLen()
	return a.Prefix.Addr().Is6() && (autoconf || r.Protocol == unix.RTPROT_RA)
}

// addRoute records the route to an address of the server, unless the network of the
// source address has it.
func (w *walk) addRoute(to way, source netip.Prefix) {
	r := netplan.Route{To: to.match, Via: to.route.Via, From: source.Addr(), OnLink: to.route.OnLink, MTU: to.route.MTU, Locking: to.route.Locked}
	if !r.To.IsValid() {
		r.To = netip.PrefixFrom(to.to, to.to.BitLen())
	}
	if !r.Via.IsValid() && (source.Contains(to.to) || to.to.Is6() && to.to.IsLinkLocalUnicast()) {
		return
	}
	if !slices.Contains(w.out.Network.Routes, r) {
		w.out.Network.Routes = append(w.out.Network.Routes, r)
	}
}

// leaseFiles are where DHCP clients keep their leases as text, with the address.
var leaseFiles = []string{
	"/var/lib/NetworkManager/*.lease",
	"/var/lib/dhcp/*.leases", // dhclient
	"/var/lib/dhclient/*.lease*",
	"/var/lib/wicked/lease-*-dhcp-ipv4.xml",
	"/run/net-*.conf", // ipconfig of klibc, in an initramfs
}

// fromDHCP reports whether an IPv4 address came from DHCP: it expires, or a client of
// DHCP has it in a lease. Leases of the past lie around, so the address counts.
func (h *Host) fromDHCP(a rtnl.Address) bool {
	ip := a.Prefix.Addr()
	if !ip.Is4() {
		return false
	}
	if a.Valid != rtnl.Forever || h.exists("/run/systemd/netif/leases/"+strconv.Itoa(a.Index)) {
		return true
	}
	for _, pattern := range leaseFiles {
		for _, file := range h.Glob(pattern) {
			data, err := h.ReadFile(file)
			if err == nil && mentions(string(data), ip.String()) && !(strings.HasPrefix(file, "/run/net-") && !strings.Contains(string(data), "dhcp")) {
				return true
			}
		}
	}
	for _, dir := range []string{"/var/lib/dhcpcd*", "/run/dhcpcd"} {
		for _, file := range h.Glob(dir + "/*.lease") {
			// A message of BOOTP: yiaddr (RFC 951).
			data, err := h.ReadFile(file)
			if err == nil && len(data) >= 240 && bytes.Equal(data[16:20], ip.AsSlice()) {
				return true
			}
		}
	}
	return false
}

// mentions reports whether text has the address, and not as a part of a longer one.
func mentions(text, address string) bool {
	for {
		i := strings.Index(text, address)
		if i < 0 {
			return false
		}
		before, after := text[:i], text[i+len(address):]
		part := func(s string) bool { return s != "" && strings.ContainsAny(s, "0123456789.") }
		if !part(before[max(0, len(before)-1):]) && !part(after[:min(1, len(after))]) {
			return true
		}
		text = after
	}
}

// request asks for a module that is no driver of a device.
func (w *walk) request(module, why string) {
	r := kmod.Request{Names: []string{module}, Why: why, Label: module, Unlisted: !w.host.loadable(module)}
	if !slices.ContainsFunc(w.out.Requests, func(o kmod.Request) bool { return o.Names[0] == module }) {
		w.out.Requests = append(w.out.Requests, r)
	}
}

// loadable reports whether the running kernel has loaded a module from a file. Only such
// modules have a state.
func (h *Host) loadable(module string) bool {
	return h.exists(path.Join("/sys/module", module, "initstate"))
}

// companions are modules that drivers of network cards request by name, which nobody
// answers in the capture kernel, or without which they find no hardware.
var companions = map[string]string{
	"mlx4_core": "mlx4_en", // drivers/net/ethernet/mellanox/mlx4/main.c
	"hns3":      "hclge",   // drivers/net/ethernet/hisilicon/hns3/hnae3.c
}

// requests completes the modules: transceivers and drivers, then those of the links.
func (w *walk) requests() {
	links := w.out.Requests
	w.out.Requests = nil
	for _, card := range w.cards {
		w.transceiver(card)
	}
	w.out.Requests = append(w.out.Requests, deviceRequests(w.out.Devices)...)
	for _, d := range w.out.Devices {
		if m := companions[d.Module]; m != "" {
			w.request(m, "network card at "+d.Path)
		}
	}
	w.out.Requests = append(w.out.Requests, links...)
	for _, a := range w.out.Network.Addresses {
		if a.Addr().Is6() {
			w.request("ipv6", "address "+a.Addr().String())
		}
	}
	// Also for the detection of duplicate addresses.
	why := "detection of duplicate addresses"
	if w.out.Network.DHCP {
		why = "DHCP"
	}
	w.out.Requests = append(w.out.Requests, kmod.Request{Names: []string{"af_packet"}, Optional: true, Why: why, Label: "af_packet"})
}

// transceiver asks for the driver of a card's PHY, which the kernel requests by an alias
// of its own (MDIO_MODULE_PREFIX, linux/mod_devicetable.h). Without it the generic driver
// serves, which some do not work with.
func (w *walk) transceiver(card string) {
	dir, err := w.host.resolve(path.Join(card, "phydev"))
	if err != nil || !w.host.exists(dir) {
		return
	}
	if d := w.host.device(dir); d.Loadable {
		w.out.Requests = append(w.out.Requests, kmod.Request{Names: []string{d.Module}, Optional: true, Why: "transceiver of " + path.Base(card), Label: d.Module, For: d.Path})
	}
}

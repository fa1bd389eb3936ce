package netconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// Where sysfs(5) and proc(5) are mounted; others in tests.
var sysfs, proc = "/sys", "/proc"

// ports waits for the cards of the wanted ports, and returns those that came, in their
// order. One is enough, but the others get settleTime.
func (s *setup) ports(wanted []netplan.Link) ([]rtnl.Link, error) {
	end, settled := s.until(portTimeout), s.until(settleTime)
	for {
		links, err := s.conn.Links()
		if err != nil {
			return nil, err
		}
		now := time.Now()
		found, warnings, missing := match(cards(links), wanted, !now.Before(settled))
		switch {
		case len(missing) == 0, len(found) > 0 && !now.Before(settled):
			for _, w := range warnings {
				s.log("%s", w)
			}
			for _, err := range missing {
				s.log("%v", err)
			}
			return found, nil
		case !now.Before(end):
			return nil, missing[0]
		}
		time.Sleep(interval)
	}
}

// card is a network link of hardware.
type card struct {
	rtnl.Link
	path string // of its device, below /sys/devices
}

// cards returns the links that have a device. A VLAN has none, although it has the
// permanent address of its card.
func cards(links []rtnl.Link) []card {
	var list []card
	for _, l := range links {
		if l.Type != unix.ARPHRD_ETHER || l.Name == "" || strings.ContainsAny(l.Name, "/") {
			continue
		}
		device, err := filepath.EvalSymlinks(filepath.Join(sysfs, "class/net", l.Name, "device"))
		if err != nil {
			continue
		}
		_, path, ok := strings.Cut(device, "/devices/")
		if ok {
			list = append(list, card{l, path})
		}
	}
	return list
}

// match finds the cards of the wanted ports: by permanent address, then by path, never by
// name. Each error names one that is missing. Only if settled may a card with another
// address take the place of the recorded one, with a warning: the card was replaced.
func match(cards []card, wanted []netplan.Link, settled bool) (found []rtnl.Link, warnings []string, missing []error) {
	for i := range wanted {
		w := &wanted[i]
		c, err := find(cards, w)
		if errors.Is(err, errReplaced) && settled {
			warnings = append(warnings, fmt.Sprintf("network card %s: no card has the address %s: using the card at its place, %s (%s)", w.Name, w.MAC, c.Name, c.Address))
			err = nil
		}
		if err != nil {
			missing = append(missing, fmt.Errorf("find network card %s: %w", describe(w), err))
			continue
		}
		if !slices.ContainsFunc(found, func(l rtnl.Link) bool { return l.Index == c.Index }) {
			found = append(found, c.Link)
		}
	}
	return found, warnings, missing
}

// errReplaced says that a card with another address is at the recorded path.
var errReplaced = errors.New("another one is at its place")

// find returns the card of a port.
func find(cards []card, w *netplan.Link) (card, error) {
	at := filter(cards, func(c card) bool { return w.Path != "" && samePath(c.path, w.Path) })
	if w.MAC == "" {
		return only(at)
	}
	same := filter(cards, func(c card) bool { return c.Permanent == w.MAC })
	if len(same) == 0 {
		// Without a permanent address, the address is the only one that is known.
		same = filter(cards, func(c card) bool { return c.Permanent == "" && c.Address == w.MAC })
	}
	if len(same) > 1 {
		if both := filter(same, func(c card) bool { return w.Path != "" && samePath(c.path, w.Path) }); len(both) > 0 {
			same = both
		}
	}
	if len(same) > 0 {
		return only(same)
	}
	c, err := only(at)
	if err != nil {
		return c, errMissing
	}
	return c, errReplaced
}

var errMissing = errors.New("no card with that address or at that place")

// only returns the single card of a list. Of several, one that is a port of another of
// them does not count (Documentation/networking/net_failover.rst).
func only(list []card) (card, error) {
	if len(list) > 1 {
		list = filter(list, func(c card) bool { return c.Master == 0 })
	}
	switch len(list) {
	case 0:
		return card{}, errMissing
	case 1:
		return list[0], nil
	}
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.Name
	}
	return card{}, fmt.Errorf("ambiguous: %s match", strings.Join(names, " and "))
}

func filter(cards []card, keep func(card) bool) []card {
	var list []card
	for _, c := range cards {
		if keep(c) {
			list = append(list, c)
		}
	}
	return list
}

// samePath compares paths below /sys/devices. The numbers of virtio devices follow the
// order in which they were found, and say nothing.
func samePath(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	return slices.EqualFunc(x, y, func(x, y string) bool { return x == y || virtio(x) && virtio(y) })
}

func virtio(elem string) bool {
	n, ok := strings.CutPrefix(elem, "virtio")
	return ok && n != "" && strings.Trim(n, "0123456789") == ""
}

// describe names a port for messages.
func describe(w *netplan.Link) string {
	var s []string
	if w.MAC != "" {
		s = append(s, w.MAC)
	}
	if w.Path != "" {
		s = append(s, w.Path)
	}
	return fmt.Sprintf("%s (%s)", w.Name, strings.Join(s, ", "))
}

// ipv6Settings make the addresses of the plan the only ones, usable at once
// (Documentation/networking/ip-sysctl.rst). The link-local address stays: neighbours
// are found with it.
var ipv6Settings = []struct{ name, value string }{
	{"disable_ipv6", "0"},
	{"accept_ra", "0"},
	{"autoconf", "0"},
	{"accept_dad", "0"},
	{"dad_transmits", "0"},
}

// setIPv6 prepares a link for IPv6. One that follows routers keeps doing so.
func (s *setup) setIPv6(link string) {
	if followsRouters(link) {
		return
	}
	for _, p := range ipv6Settings {
		s.set(filepath.Join("ipv6/conf", link, p.name), p.value)
	}
}

// set changes a setting below /proc/sys/net. A kernel without IPv6 lacks some.
func (s *setup) set(name, value string) {
	err := os.WriteFile(filepath.Join(proc, "sys/net", name), []byte(value), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log("%v", err)
	}
}

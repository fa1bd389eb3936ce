package builder

import (
	"cmp"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"time"

	"ukdump/initramfs"
	"ukdump/internal/host"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// way returns the addresses of a server and the way to them. It keeps those of the image
// that is there as long as they are as good. Otherwise each answer of a name server with
// other addresses of many, each failure of one, and each change of the active port of a
// bond would make the image out of date.
func (b *Build) way(s *netplan.Server, o Options) ([]netip.Addr, *host.Network, error) {
	route := o.Route
	if route == nil {
		route = host.Route
	}
	addresses, way, err := route(b.host, s.Host, nil)
	before := b.inImage(s, o)
	if before == nil || !keeps(before, addresses, err) {
		return addresses, way, err
	}
	kept, keptWay := addresses, way
	if err != nil || !slices.Equal(addresses, before.Addresses) {
		var keptErr error
		if kept, keptWay, keptErr = route(b.host, s.Host, before.Addresses); keptErr != nil || !slices.Equal(kept, before.Addresses) {
			return addresses, way, err
		}
	}
	same := sameWay(&before.Network, &keptWay.Network) || sameButSource(&before.Network, keptWay)
	switch {
	case same:
		keptWay.Network = before.Network
	case err == nil:
		return addresses, way, nil
	}
	if err != nil {
		b.warn("%s: %v: its addresses in the image are kept", s.Target, err)
	}
	return kept, keptWay, nil
}

// inImage returns the server as the image that is there has it, nil if none does.
func (b *Build) inImage(s *netplan.Server, o Options) *netplan.Server {
	if b.built == nil {
		b.built = imagePlan(filepath.Join(o.Root, state.ImagePath(b.Kernel.Release)))
	}
	before := b.built.Server(s.Target)
	if before == nil || before.Host != s.Host || before.Port != s.Port || before.Protocol != s.Protocol {
		return nil
	}
	return before
}

// imagePlan returns the plan of an image for servers, an empty one if it cannot be read.
func imagePlan(path string) *netplan.Plan {
	none := new(netplan.Plan)
	data, err := readPlan(path)
	if err != nil {
		return none
	}
	p, err := plan.Parse(data)
	if err != nil || p.Remote == nil {
		return none
	}
	r, err := netplan.Of(p.Remote)
	if err != nil {
		return none
	}
	return r
}

// readPlan returns the plan of an image that the builder wrote. It has each file once, and the
// plan near its beginning: the rest need not be unpacked.
func readPlan(path string) ([]byte, error) {
	r, err := initramfs.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		e, err := r.Next()
		if err != nil {
			return nil, err
		}
		if e.Path == plan.Path {
			return io.ReadAll(io.LimitReader(r, maxPlan))
		}
	}
}

// keeps reports whether the addresses of a server in an image are still its own: the name
// has one of them, or could not be resolved at the moment. The name of an object store has
// other ones each minute, so there it is enough that one of them answers.
func keeps(before *netplan.Server, now []netip.Addr, err error) bool {
	if err != nil {
		var dns *net.DNSError
		return errors.As(err, &dns) && !dns.IsNotFound
	}
	if slices.ContainsFunc(before.Addresses, func(a netip.Addr) bool { return slices.Contains(now, a) }) {
		return true
	}
	return before.Protocol == netplan.ProtocolS3 && answers(before)
}

// answerLimit is the time for one connection.
const answerLimit = time.Second

// answers reports whether one of the first addresses accepts a connection.
func answers(s *netplan.Server) bool {
	for _, a := range s.Addresses[:min(len(s.Addresses), 3)] {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(a.String(), strconv.Itoa(s.Port)), answerLimit)
		if err == nil {
			c.Close()
			return true
		}
	}
	return false
}

// sameWay compares two ways without the order of the ports of a bond: PID 1 tries them all.
func sameWay(a, b *netplan.Network) bool {
	return reflect.DeepEqual(sortedPorts(a), sortedPorts(b))
}

// sameButSource reports whether two ways differ only in the own addresses, and those of a
// are still assigned. A second address that came by router advertisement may be the one
// that the kernel prefers now.
func sameButSource(a *netplan.Network, now *host.Network) bool {
	for _, own := range a.Addresses {
		if !slices.Contains(now.Assigned, own) {
			return false
		}
	}
	x, y := withoutSource(a), withoutSource(&now.Network)
	return sameWay(&x, &y)
}

func withoutSource(n *netplan.Network) netplan.Network {
	out := *n
	out.Addresses, out.DHCP, out.RA = nil, false, false
	out.Routes = slices.Clone(n.Routes)
	for i := range out.Routes {
		out.Routes[i].From = netip.Addr{}
	}
	return out
}

func sortedPorts(n *netplan.Network) netplan.Network {
	out := *n
	out.Links = slices.Clone(n.Links)
	for i := range out.Links {
		l := &out.Links[i]
		l.Ports = slices.Clone(l.Ports)
		slices.SortFunc(l.Ports, func(a, b netplan.Link) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.MAC, b.MAC))
		})
	}
	return out
}

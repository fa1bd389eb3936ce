package builder

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/netplan"
	"ukdump/internal/state"
)

// addressList parses addresses that are separated by spaces.
func addressList(s string) (list []netip.Addr) {
	for _, a := range strings.Fields(s) {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

// An image stays up to date as long as the network differs only in facts that do not
// matter after a crash.
func TestWayKeeps(t *testing.T) {
	m := serverMachine(t)
	m.Write(confFile, "TARGET=sftp://dump@nas/srv\n")
	c, err := config.Load(m.Root)
	if err != nil {
		t.Fatal(err)
	}
	port := func(name, mac string) netplan.Link {
		return netplan.Link{Kind: netplan.Ethernet, Name: name, MAC: mac}
	}
	bond := func(ports ...netplan.Link) []netplan.Link {
		return []netplan.Link{{Kind: netplan.Bond, Name: "bond0", Ports: ports}}
	}
	eth0, eth1 := port("eth0", "52:54:00:12:34:56"), port("eth1", "52:54:00:12:34:57")
	temporary, gone := &net.DNSError{Err: "server misbehaving", Name: "nas", IsTemporary: true}, &net.DNSError{Err: "no such host", Name: "nas", IsNotFound: true}
	lookups := 0
	build := func(answer string, failure error, links []netplan.Link, own string) (*Build, error) {
		route := func(_ *host.Host, _ string, addresses []netip.Addr) ([]netip.Addr, *host.Network, error) {
			lookups++
			if len(addresses) == 0 {
				if failure != nil {
					return nil, nil, failure
				}
				addresses = addressList(answer)
			}
			// The first one is that from which the server is reached.
			var assigned []netip.Prefix
			for a := range strings.FieldsSeq(own) {
				assigned = append(assigned, netip.MustParsePrefix(a))
			}
			way := &host.Network{Network: netplan.Network{Links: links, Addresses: assigned[:1], Routes: []netplan.Route{
				{To: netip.MustParsePrefix("198.51.100.0/24"), Via: netip.MustParseAddr("192.0.2.254"), From: assigned[0].Addr()}}}, Assigned: assigned}
			return slices.Clone(addresses), way, nil
		}
		return New(Options{Root: m.Root, Config: c, Pid1: m.Pid1, Route: route})
	}
	const own = "192.0.2.10/24"
	first, err := build("192.0.2.1 192.0.2.2", nil, bond(eth0, eth1), own)
	if err != nil {
		t.Fatal(err)
	}
	want, err := first.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(m.Root, state.ImagePath(first.Kernel.Release))
	if err := errors.Join(os.MkdirAll(filepath.Dir(image), 0o700), first.WriteFile(image)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, answer string
		failure      error
		links        []netplan.Link
		own          string
		same         bool
	}{
		{"nothing changed", "192.0.2.1 192.0.2.2", nil, bond(eth0, eth1), own, true},
		{"one address of several went", "192.0.2.2", nil, bond(eth0, eth1), own, true},
		{"another address came", "192.0.2.1 192.0.2.2 192.0.2.3", nil, bond(eth0, eth1), own, true},
		{"the other port of the bond is active", "192.0.2.1 192.0.2.2", nil, bond(eth1, eth0), own, true},
		{"no name server", "", temporary, bond(eth0, eth1), own, true},
		{"other addresses", "192.0.2.3", nil, bond(eth0, eth1), own, false},
		{"a port of the bond went", "192.0.2.1 192.0.2.2", nil, bond(eth0), own, false},
		{"another own address", "192.0.2.1 192.0.2.2", nil, bond(eth0, eth1), "192.0.2.11/24", false},
		{"another own address is preferred", "192.0.2.1 192.0.2.2", nil, bond(eth0, eth1), "192.0.2.11/24 " + own, true},
		{"another own address on another port", "192.0.2.1 192.0.2.2", nil, bond(eth0), "192.0.2.11/24 " + own, false},
		{"the own address in another network", "192.0.2.1 192.0.2.2", nil, bond(eth0, eth1), "192.0.2.11/24 192.0.2.10/25", false},
	} {
		b, err := build(tt.answer, tt.failure, tt.links, tt.own)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := b.Fingerprint()
		if err != nil || (got == want) != tt.same {
			t.Errorf("%s: the same image: got %v, %v, want %v", tt.name, got == want, err, tt.same)
		}
	}
	lookups = 0
	if _, err := build("192.0.2.1 192.0.2.2", nil, bond(eth0, eth1), own); err != nil || lookups != 1 {
		t.Errorf("%d look-ups of the way to the same addresses, %v", lookups, err)
	}
	if _, err := build("", gone, bond(eth0, eth1), own); !errors.Is(err, gone) {
		t.Errorf("the name does not exist: got %v", err)
	}
	if err := os.WriteFile(image, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := build("", temporary, bond(eth0, eth1), own); !errors.Is(err, temporary) {
		t.Errorf("no name server and a damaged image: got %v", err)
	}
}

// The name of an object store has other addresses each minute.
func TestKeepsObjectStore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &netplan.Server{Protocol: netplan.ProtocolS3, Addresses: addressList("127.0.0.1"), Port: l.Addr().(*net.TCPAddr).Port}
	now := addressList("192.0.2.1")
	if !keeps(s, now, nil) {
		t.Error("an address that answers is not kept")
	}
	s.Protocol = netplan.ProtocolSFTP
	if keeps(s, now, nil) {
		t.Error("another server is kept")
	}
	s.Protocol = netplan.ProtocolS3
	l.Close()
	if keeps(s, now, nil) {
		t.Error("an address that does not answer is kept")
	}
}

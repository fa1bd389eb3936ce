package netconf

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
	"ukdump/internal/rtnl"
)

// lab is a network namespace with invented cards: one end of a pair each, in an invented
// sysfs. The other ends are the switch.
type lab struct {
	*testing.T
	conn *rtnl.Conn
	logs []string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip(8)")
	}
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespaces: %v", err)
	}
	conn, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	old := []any{sysfs, CarrierTimeout, portTimeout, settleTime, interval, firstWait, lastWait}
	sysfs, CarrierTimeout, portTimeout, settleTime, interval = t.TempDir(), 10*time.Second, 10*time.Second, 200*time.Millisecond, 10*time.Millisecond
	firstWait, lastWait = 300*time.Millisecond, time.Second
	t.Cleanup(func() {
		conn.Close()
		sysfs, CarrierTimeout, portTimeout = old[0].(string), old[1].(time.Duration), old[2].(time.Duration)
		settleTime, interval, firstWait, lastWait = old[3].(time.Duration), old[4].(time.Duration), old[5].(time.Duration), old[6].(time.Duration)
	})
	return &lab{T: t, conn: conn}
}

// ip runs ip(8) in the namespace.
func (l *lab) ip(args string) {
	l.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		l.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// card makes a card with a hardware address at a path, and its cable: the link name-sw.
func (l *lab) card(name, mac, path string) {
	l.Helper()
	l.ip("link add " + name + " address " + mac + " type veth peer name " + name + "-sw")
	device := filepath.Join(sysfs, "devices", path)
	dir := filepath.Join(device, "net", name)
	for _, err := range []error{
		os.MkdirAll(dir, 0o755),
		os.MkdirAll(filepath.Join(sysfs, "class/net"), 0o755),
		os.Symlink(device, filepath.Join(dir, "device")),
		os.Symlink(dir, filepath.Join(sysfs, "class/net", name)),
	} {
		if err != nil {
			l.Fatal(err)
		}
	}
}

// cable plugs the card in.
func (l *lab) cable(name string) {
	l.Helper()
	l.ip("link set " + name + "-sw up")
}

func (l *lab) log(format string, a ...any) { l.logs = append(l.logs, fmt.Sprintf(format, a...)) }

// logged requires one line of the log for each text, which it contains.
func (l *lab) logged(want ...string) {
	l.Helper()
	ok := len(l.logs) == len(want)
	for i := range want {
		ok = ok && strings.Contains(l.logs[i], want[i])
	}
	if !ok {
		l.Errorf("log:\n%s\nwant:\n%s", strings.Join(l.logs, "\n"), strings.Join(want, "\n"))
	}
	l.logs = nil
}

func (l *lab) named(name string) rtnl.Link {
	l.Helper()
	links, err := l.conn.Links()
	if err != nil {
		l.Fatal(err)
	}
	i := slices.IndexFunc(links, func(x rtnl.Link) bool { return x.Name == name })
	if i < 0 {
		return rtnl.Link{}
	}
	return links[i]
}

// way requires the route to a server.
func (l *lab) way(server, link, via, from string) {
	l.Helper()
	r, err := l.conn.Route(netip.MustParseAddr(server), 0)
	if err != nil {
		l.Error(err)
		return
	}
	v, _ := netip.ParseAddr(via)
	if r.Via != v || r.From.String() != from || r.Index != l.named(link).Index {
		l.Errorf("route to %s: %+v, want via %s from %s on %s", server, r, via, from, link)
	}
}

func (l *lab) up(n *netplan.Network, servers ...string) (Result, error) {
	return Up(n, addrs(servers...), time.Now().Add(20*time.Second), l.log)
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func route(to, via string) netplan.Route {
	return netplan.Route{To: netip.MustParsePrefix(to), Via: netip.MustParseAddr(via)}
}

const (
	mac0  = "52:54:00:00:00:01"
	mac1  = "52:54:00:00:00:02"
	path0 = "pci0000:00/0000:00:03.0/virtio0"
	path1 = "pci0000:00/0000:00:04.0/virtio1"
)

func ethernet(mac, path string) netplan.Link {
	return netplan.Link{Kind: netplan.Ethernet, Name: "eth0", MAC: mac, Path: path}
}

func TestUp(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac1, path1) // the other one is named first
	l.card("net1", mac0, path0)
	l.cable("net0")
	l.cable("net1")
	n := &netplan.Network{
		Links:     []netplan.Link{ethernet(mac0, path0)},
		Addresses: prefixes("10.1.2.3/24", "2001:db8::3/64"),
		Routes:    []netplan.Route{route("0.0.0.0/0", "10.1.2.1"), route("::/0", "fe80::1"), route("192.0.2.0/24", "172.16.0.1")},
	}
	n.Links[0].MTU = 1450
	servers := []string{"203.0.113.5", "10.1.2.9", "2001:db8:5::1", "192.0.2.1"}
	for range 2 { // the second time after a worker that died
		r, err := l.up(n, servers...)
		if err != nil {
			t.Fatal(err)
		}
		want := Result{Link: "net1", Index: l.named("net1").Index, MTU: 1450, Addresses: n.Addresses, Servers: addrs(servers...)}
		if !reflect.DeepEqual(r, want) {
			t.Errorf("got %+v, want %+v", r, want)
		}
		l.logged()
		l.way("203.0.113.5", "net1", "10.1.2.1", "10.1.2.3")
		l.way("10.1.2.9", "net1", "", "10.1.2.3")
		l.way("192.0.2.1", "net1", "172.16.0.1", "10.1.2.3")
		l.way("2001:db8:5::1", "net1", "fe80::1", "2001:db8::3")
		l.way("2001:db8:9::1", "net1", "fe80::1", "2001:db8::3")
	}
	if l.named("net0").Up() || !l.named("lo").Up() {
		t.Error("the other card is up, or lo is down")
	}
}

// Two targets use two cards in one network.
func TestTwoNetworks(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	l.card("net1", mac1, path1)
	l.cable("net0")
	l.cable("net1")
	for i, mac := range []string{mac0, mac1} {
		n := &netplan.Network{
			Links:     []netplan.Link{ethernet(mac, "")},
			Addresses: prefixes(fmt.Sprintf("10.1.2.%d/24", 3+i)),
			Routes:    []netplan.Route{route("0.0.0.0/0", fmt.Sprintf("10.1.2.%d", 1+i))},
		}
		if _, err := l.up(n, fmt.Sprintf("10.1.2.%d", 8+i), fmt.Sprintf("192.0.2.%d", 8+i)); err != nil {
			t.Fatal(err)
		}
	}
	l.way("10.1.2.8", "net0", "", "10.1.2.3")
	l.way("10.1.2.9", "net1", "", "10.1.2.4")
	l.way("192.0.2.8", "net0", "10.1.2.1", "10.1.2.3")
	l.way("192.0.2.9", "net1", "10.1.2.2", "10.1.2.4")
}

func TestLateCarrier(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	sw := l.named("net0-sw")
	n := &netplan.Network{Links: []netplan.Link{ethernet(mac0, path0)}, Addresses: prefixes("10.1.2.3/24")}
	CarrierTimeout = 300 * time.Millisecond
	if _, err := l.up(n); err == nil || err.Error() != "link eth0: no carrier after 0 seconds" {
		t.Errorf("no carrier: %v", err)
	}
	CarrierTimeout = 10 * time.Second
	done := make(chan error)
	go func() {
		time.Sleep(200 * time.Millisecond)
		done <- l.conn.SetUp(sw.Index, true)
	}()
	if _, err := l.up(n, "10.1.2.9"); err != nil {
		t.Errorf("late carrier: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.way("10.1.2.9", "net0", "", "10.1.2.3")
}

func TestLargeMTU(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	l.cable("net0")
	n := &netplan.Network{
		Links:     []netplan.Link{ethernet(mac0, path0)},
		Addresses: prefixes("10.1.2.3/24"),
		Routes:    []netplan.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.1.2.1"), MTU: 65536}},
	}
	n.Links[0].MTU = 65536
	r, err := l.up(n, "192.0.2.1")
	if err != nil || r.MTU != 65535 {
		t.Errorf("got %+v, %v", r, err)
	}
	l.logged("set MTU 65536 of link net0: invalid argument (mtu greater than device maximum): using 65535")
	if w, err := l.conn.Route(netip.MustParseAddr("192.0.2.1"), 0); err != nil || w.MTU > 65535 {
		t.Errorf("route: %+v, %v", w, err)
	}
}

func TestSetAddress(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	l.cable("net0")
	n := &netplan.Network{Links: []netplan.Link{ethernet("", path0)}, Addresses: prefixes("10.1.2.3/24")}
	n.Links[0].Address = "52:54:00:00:00:77"
	if _, err := l.up(n, "10.1.2.9"); err != nil {
		t.Fatal(err)
	}
	if got := l.named("net0").Address; got != n.Links[0].Address {
		t.Errorf("address %s", got)
	}
	l.logged()
}

func TestBond(t *testing.T) {
	for _, lacp := range []bool{false, true} {
		t.Run(fmt.Sprint("LACP ", lacp), func(t *testing.T) {
			done := make(chan bool)
			go func() { // a thread of its own
				defer close(done)
				testBond(t, lacp)
			}()
			<-done
		})
	}
}

func testBond(t *testing.T, lacp bool) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	l.card("net1", mac1, path1)
	l.cable("net1") // only that
	n := &netplan.Network{
		Links: []netplan.Link{{
			Kind: netplan.Bond, Name: "bond0", Address: "52:54:00:00:00:99", MTU: 1400, LACP: lacp,
			Ports: []netplan.Link{ethernet("", path0), ethernet("", path1), {Kind: netplan.Ethernet, Name: "eth2", MAC: "52:54:00:00:00:03"}, {Kind: netplan.Ethernet, Name: "eth3", MAC: "52:54:00:00:00:04"}},
		}},
		Addresses: prefixes("10.1.2.3/24"),
	}
	for range 2 {
		r, err := l.up(n, "10.1.2.9")
		if err != nil {
			t.Fatal(err)
		}
		link := l.named(r.Link)
		if link.Address != "52:54:00:00:00:99" || link.MTU != 1400 || !link.Ready() {
			t.Errorf("link %+v", link)
		}
		if link.Kind == "bond" {
			continue
		}
		if r.Link != "net1" || l.named("net0").Up() {
			t.Errorf("uses %s, net0 is %+v", r.Link, l.named("net0"))
		}
	}
	const eth2, eth3 = "find network card eth2 (52:54:00:00:00:03): no card with that address or at that place", "find network card eth3 "
	if lacp && l.named("bond0").Index == 0 {
		l.logged(eth2, eth3, "operation not supported", eth2, eth3, "operation not supported")
		t.Skip("no bonds in this kernel")
	}
	l.logged(eth2, eth3, eth2, eth3)
}

func TestVLAN(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	l.cable("net0")
	vlan := func(name string, id int) netplan.Link {
		return netplan.Link{Kind: netplan.VLAN, Name: name, ID: id, MTU: 9000}
	}
	n := &netplan.Network{Links: []netplan.Link{ethernet(mac0, path0), vlan("net0", 5), vlan("v7", 7)}, Addresses: prefixes("10.1.2.3/24")}
	r, err := l.up(n, "10.1.2.9")
	if err != nil && strings.Contains(err.Error(), "operation not supported") {
		t.Skipf("no VLANs: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.up(n, "10.1.2.9")
	if err != nil || !reflect.DeepEqual(r, again) {
		t.Errorf("got %+v and %+v, %v", r, again, err)
	}
	if v := l.named("v7"); r.Link != "v7" || v.VLANID != 7 || v.Below != l.named("ukdump0").Index || v.MTU != 1500 {
		t.Errorf("VLAN %+v of %+v", v, r)
	}
	l.way("10.1.2.9", "v7", "", "10.1.2.3")
}

func TestDuplicateAddress(t *testing.T) {
	l := newLab(t)
	l.card("net0", mac0, path0)
	l.cable("net0")
	l.ip("address add 10.1.2.3/32 dev net0-sw")
	n := &netplan.Network{Links: []netplan.Link{ethernet(mac0, path0)}, Addresses: prefixes("10.1.2.3/24")}
	if _, err := l.up(n, "10.1.2.9"); err != nil {
		t.Fatal(err)
	}
	l.logged("address 10.1.2.3 is in use: " + l.named("net0-sw").Address + " answers on link net0")
}

func TestBadPlan(t *testing.T) {
	if _, err := Up(&netplan.Network{}, nil, time.Now(), t.Logf); err == nil {
		t.Error("no error for an empty plan")
	}
	if _, err := Renew(&netplan.Network{}, nil, time.Now(), t.Logf); err == nil {
		t.Error("no error without DHCP")
	}
}

func TestMatch(t *testing.T) {
	nic := func(name, permanent, path string, master int) card {
		return card{rtnl.Link{Index: int(name[3]), Name: name, Permanent: permanent, Address: "52:54:00:00:00:aa", Master: master}, path}
	}
	for _, c := range []struct {
		name    string
		cards   []card
		want    netplan.Link
		settled bool
		found   string // name, warning or error
	}{
		{"by address, named differently", []card{nic("eth0", mac1, path0, 0), nic("eth1", mac0, path1, 0)}, ethernet(mac0, path0), false, "eth1"},
		{"none yet", nil, ethernet(mac0, path0), true, "find network card eth0 (52:54:00:00:00:01, pci0000:00/0000:00:03.0/virtio0): no card with that address or at that place"},
		{"replaced, too early", []card{nic("eth0", mac1, path0, 0)}, ethernet(mac0, path0), false, "find network card eth0 (52:54:00:00:00:01, pci0000:00/0000:00:03.0/virtio0): another one is at its place"},
		{"replaced", []card{nic("eth0", mac1, path0, 0)}, ethernet(mac0, path0), true, "network card eth0: no card has the address 52:54:00:00:00:01: using the card at its place, eth0 (52:54:00:00:00:aa)"},
		{"two with one address", []card{nic("eth0", mac0, path1, 0), nic("eth1", mac0, path0, 0)}, ethernet(mac0, path0), false, "eth1"},
		{"two with one address, moved", []card{nic("eth0", mac0, "a", 0), nic("eth1", mac0, "b", 0)}, ethernet(mac0, path0), true, "find network card eth0 (52:54:00:00:00:01, pci0000:00/0000:00:03.0/virtio0): ambiguous: eth0 and eth1 match"},
		{"failover", []card{nic("eth0", mac0, path0, 0), nic("eth1", mac0, path0, 1), nic("eth2", mac0, path1, 1)}, ethernet(mac0, path0), false, "eth0"},
		{"by path, other number", []card{nic("eth0", "", "pci0000:00/0000:00:03.0/virtio7", 0)}, ethernet("", path0), false, "eth0"},
		{"by path, two ports", []card{nic("eth0", "", path0, 0), nic("eth1", "", path0, 0)}, ethernet("", path0), true, "find network card eth0 (pci0000:00/0000:00:03.0/virtio0): ambiguous: eth0 and eth1 match"},
		{"path of a virtio bus", []card{nic("eth0", "", "pci0000:00/0000:00:03.0/virtiox", 0)}, ethernet("", path0), true, "find network card eth0 (pci0000:00/0000:00:03.0/virtio0): no card with that address or at that place"},
	} {
		found, warnings, missing := match(c.cards, []netplan.Link{c.want}, c.settled)
		got := ""
		switch {
		case len(missing) > 0:
			got = missing[0].Error()
		case len(warnings) > 0:
			got = strings.Join(warnings, "\n")
		case len(found) == 1:
			got = found[0].Name
		}
		if got != c.found {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.found)
		}
	}
}

package ctl

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/initramfs"
	"ukdump/internal/builder"
	"ukdump/internal/host"
	"ukdump/internal/kmod"
	"ukdump/internal/mountd"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
)

// network is the network of a machine whose server can be cut off.
type network struct {
	down  bool
	asked int // how often the route was asked for: once by each look at the machine
}

func (n *network) route(*host.Host, string, []netip.Addr) ([]netip.Addr, *host.Network, error) {
	n.asked++
	if n.down {
		return nil, nil, &host.AbsentError{Err: fmt.Errorf("find the route to 192.0.2.1: %w", unix.ENETUNREACH)}
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, &host.Network{
		Network: netplan.Network{
			Links:     []netplan.Link{{Kind: netplan.Ethernet, Name: "eth0", MAC: "52:54:00:12:34:56"}},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")},
		},
		Requests: []kmod.Request{{Alias: "virtio:d00000001v00001AF4", Names: []string{"virtio_net"}, Why: "network card eth0", Label: "eth0"}},
	}, nil
}

// newServed returns a machine with targets, and its network.
func newServed(t *testing.T, down bool, targets string) (*machine, *network) {
	t.Helper()
	m, n := newMachine(t), &network{down: down}
	m.route, m.askNFS = n.route, askSys
	m.Write(conf, "TARGET=\""+targets+"\"\n")
	return m, n
}

// newCutOff returns one that has loaded a set with the server, which is then cut off.
func newCutOff(t *testing.T) *machine {
	t.Helper()
	m, n := newServed(t, false, server+" /var/crash")
	if got := m.kdumpctl("load"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	n.down = true
	return m
}

// askSys is a server without Kerberos.
func askSys([]netip.Addr, string) ([]mountd.Flavour, error) { return []mountd.Flavour{mountd.Sys}, nil }

const (
	server    = "nfs:nas:/srv"
	noRoute   = "find the route to 192.0.2.1: network is unreachable"
	isOmitted = "target " + server + " is omitted: " + noRoute
)

// targets returns the targets of the image in the kernel.
func (m *machine) targets() string {
	m.t.Helper()
	contents, err := builder.Inspect(initramfs.Open(bytes.NewReader(m.initrd)))
	if err != nil {
		m.t.Fatal(err)
	}
	p, err := plan.Parse(contents.Plan)
	if err != nil {
		m.t.Fatal(err)
	}
	var list []string
	for _, t := range p.Targets {
		list = append(list, t.Dir)
	}
	return strings.Join(list, " ")
}

// A machine that boots without its network saves a crash on its disk, and says that the
// server is missing until a load has it.
func TestOmittedServer(t *testing.T) {
	t.Parallel()
	m, n := newServed(t, true, server+" /var/crash")
	got := m.kdumpctl("load")
	if got.status != 0 || !strings.Contains(got.stderr, "warning: "+isOmitted+"\n") || !m.isLoaded() || m.targets() != "/var/crash" {
		t.Fatalf("%+v, targets %s", got, m.targets())
	}
	if line := m.missing(); line != isOmitted {
		t.Errorf("status: %s", line)
	}
	if got := m.kdumpctl("status"); got.status != 4 || !strings.Contains(got.stdout, server+", omitted: "+noRoute+"\n") {
		t.Errorf("%+v", got)
	}
	if got := m.kdumpctl("verify"); got.status != 1 || !strings.Contains(got.stdout, isOmitted) || strings.Contains(got.stdout, "out of date") ||
		!strings.Contains(got.stdout, "/var/crash is writable") {
		t.Errorf("%+v", got)
	}
	if got := m.kdumpctl("reload --if-changed"); got.status != 0 || m.reloads != 0 {
		t.Errorf("%+v, %d reloads", got, m.reloads)
	}

	n.asked = 0
	if got := m.kdumpctl("reload --omitted"); got.status != 0 || len(m.calls) != 1 || !slices.Equal(m.retries, []bool{true}) || n.asked != 1 {
		t.Errorf("%+v, %d calls, timer %v, %d looks", got, len(m.calls), m.retries, n.asked)
	}

	n.down = false
	if line := m.missing(); line != "the loaded image is out of date: its inputs have changed" {
		t.Errorf("status with the network: %s", line)
	}
	if got := m.kdumpctl("reload --if-changed"); got.status != 0 || m.reloads != 1 {
		t.Errorf("%+v, %d reloads", got, m.reloads)
	}
	m.retries, n.asked = nil, 0
	if got := m.kdumpctl("reload --omitted"); got.status != 0 || strings.Contains(got.stderr, "omitted") || m.targets() != server+" /var/crash" || !slices.Equal(m.retries, []bool{false}) || n.asked != 1 {
		t.Errorf("%+v, targets %s, timer %v, %d looks", got, m.targets(), m.retries, n.asked)
	}
	if got := m.kdumpctl("reload --omitted --hotplug"); got.status != 2 {
		t.Errorf("%+v", got)
	}
	if line := m.missing(); line != "nothing" {
		t.Errorf("status: %s", line)
	}
}

// A set that has the server is better than one without it: the network may be back by the
// crash.
func TestOmittedKeepsSet(t *testing.T) {
	t.Parallel()
	m := newCutOff(t)
	whole := m.inKernel()
	calls := len(m.calls)
	for _, line := range []string{"reload", "build --force"} {
		if got := m.kdumpctl(line); got.status != 1 || !strings.HasPrefix(got.stderr, "kdumpctl: "+isOmitted) || len(m.calls) != calls {
			t.Errorf("%s: %+v, %d calls", line, got, len(m.calls)-calls)
		}
	}
	for line, want := range map[string]string{"status": "target " + server + ": " + noRoute, "verify": "target " + server + ": " + noRoute} {
		if got := m.kdumpctl(line); !strings.Contains(strings.Join(strings.Fields(got.stdout), " "), want) || strings.Contains(got.stdout, "out of date") || strings.Contains(got.stdout, "omitted") {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if got := m.kdumpctl("reload --if-changed"); got.status != 0 || m.reloads != 0 {
		t.Errorf("%+v, %d reloads", got, m.reloads)
	}

	// At boot the fallback set is loaded.
	m.reboot()
	if got := m.kdumpctl("load --if-reserved"); got.status != 1 || m.inKernel() != whole {
		t.Errorf("%+v", got)
	}
	// If it is damaged, the image without the server is loaded.
	m.reboot()
	ents, err := os.ReadDir(m.Root + "/" + lastGood)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ents {
		if strings.HasPrefix(e.Name(), "image-") {
			m.Write(lastGood+"/"+e.Name(), "damaged")
		}
	}
	if got := m.kdumpctl("load --if-reserved"); got.status != 0 || !strings.Contains(got.stderr, "warning: "+isOmitted) || m.targets() != "/var/crash" {
		t.Errorf("%+v, targets %s", got, m.targets())
	}
}

// If the kernel refuses the fallback set, the image without the server is loaded.
func TestOmittedFallbackRefused(t *testing.T) {
	t.Parallel()
	m := newCutOff(t)
	m.reboot()
	m.failOnce(unix.EADDRNOTAVAIL)
	got := m.kdumpctl("load")
	if got.status != 0 || !strings.Contains(got.stderr, "warning: "+isOmitted+"; nothing is loaded now, as this failed too: ") || !m.isLoaded() || m.targets() != "/var/crash" {
		t.Errorf("%+v, targets %s", got, m.targets())
	}
	if line := m.missing(); line != isOmitted {
		t.Errorf("status: %s", line)
	}
}

// Without any target nothing is loaded. A network that comes late is waited for.
func TestOmittedAll(t *testing.T) {
	t.Parallel()
	m, n := newServed(t, true, server)
	m.expect("load", result{1, "", "kdumpctl: target " + server + ": " + noRoute + "; nothing is loaded now, and no fallback set exists\n" +
		"kdumpctl: Run kdumpctl reload when the server can be reached, or add a directory on this machine to TARGET=.\n"})
	slept := time.Duration(0)
	m.sleep = func(d time.Duration) {
		if slept += d; slept > 10*time.Second {
			n.down = false
		}
	}
	if got := m.kdumpctl("load --if-reserved"); got.status != 0 || m.targets() != server {
		t.Errorf("%+v", got)
	}
}

// A server that wants Kerberos is refused before the kernel is asked.
func TestKerberosServer(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.route = new(network).route
	m.askNFS = func(addresses []netip.Addr, export string) ([]mountd.Flavour, error) {
		if export != "/srv" || fmt.Sprint(addresses) != "[192.0.2.1]" {
			t.Errorf("asked %v for %s", addresses, export)
		}
		return []mountd.Flavour{mountd.Krb5}, nil
	}
	m.Write(conf, "TARGET=\""+server+" /var/crash\"\n")
	const wants = "kdumpctl: target " + server + ": the server wants Kerberos (sec=krb5), for which the capture kernel has no keys"
	const advised = "kdumpctl: Export it with sec=sys to this machine, or set TARGET= to an sftp:// target.\n"
	m.expect("load", result{1, "", wants + "; nothing is loaded now, and no fallback set exists\n" + advised})
	m.expect("build", result{1, "", wants + "\n" + advised})
	if len(m.calls) > 0 {
		t.Errorf("the kernel was asked: %q", m.calls)
	}
}

// Where all targets are servers, nothing is loaded until one can be reached.
func TestOmittedUntilReached(t *testing.T) {
	t.Parallel()
	m, n := newServed(t, true, server)
	for range 2 {
		if got := m.kdumpctl("reload --omitted"); got.status != 1 || m.isLoaded() || !strings.Contains(got.stderr, noRoute) {
			t.Errorf("%+v", got)
		}
	}
	if !slices.Equal(m.retries, []bool{true, true}) {
		t.Errorf("timer %v", m.retries)
	}
	n.down, m.retries = false, nil
	if got := m.kdumpctl("reload --omitted"); got.status != 0 || m.targets() != server || !slices.Equal(m.retries, []bool{false}) {
		t.Errorf("%+v, targets %s, timer %v", got, m.targets(), m.retries)
	}
}

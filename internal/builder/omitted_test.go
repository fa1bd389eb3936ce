package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/config"
	"ukdump/internal/host"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
)

// A server that cannot be reached at the moment costs its target, a mistake in the
// configuration the whole image.
func TestOmitted(t *testing.T) {
	const reload = "Run kdumpctl reload when the server can be reached."
	absent := func(err error) error { return &host.AbsentError{Err: err} }
	failures := map[string]error{
		"noroute": absent(fmt.Errorf("find the route to 192.0.2.7: %w", unix.ENETUNREACH)),
		"down":    absent(fmt.Errorf("find the route to 192.0.2.7: %w", unix.EHOSTUNREACH)),
		"typo":    absent(fmt.Errorf("resolve the server: %w", &net.DNSError{Err: "no such host", Name: "typo", IsNotFound: true})),
		"silent":  absent(fmt.Errorf("resolve the server: %w", &net.DNSError{Err: "i/o timeout", Name: "silent", IsTimeout: true})),
		"wifi":    &host.NetworkError{Server: "wifi", What: "Wi-Fi link", Name: "wlan0", Why: "the capture kernel has no wpa_supplicant"},
		"self":    &host.NetworkError{Server: "self", What: "server on this machine", Name: "192.0.2.10", Why: "it ends with the kernel that crashes"},
	}
	route := func(h *host.Host, name string, addresses []netip.Addr) ([]netip.Addr, *host.Network, error) {
		if err := failures[name]; err != nil {
			return nil, nil, err
		}
		return testRoute(h, name, addresses)
	}
	m := serverMachine(t)
	for _, tt := range []struct {
		name, targets string
		change        func()
		plan          string // targets of the image, and where the omitted ones were
		omitted       string // errors and advice
		refused       string // beginning of the error, and advice
	}{
		{name: "no route", targets: "nfs:noroute:/srv /var/crash", plan: "- /var/crash",
			omitted: "target nfs:noroute:/srv is omitted: find the route to 192.0.2.7: network is unreachable " + reload},
		{name: "link down, last in the list", targets: "/var/crash nfs:down:/srv", plan: "/var/crash -",
			omitted: "target nfs:down:/srv is omitted: find the route to 192.0.2.7: no route to host " + reload},
		{name: "name does not exist", targets: "nfs:typo:/srv /var/crash", plan: "- /var/crash",
			omitted: "target nfs:typo:/srv is omitted: resolve the server: lookup typo: no such host Correct the name in TARGET=, or run kdumpctl reload when it resolves."},
		{name: "no answer of a name server", targets: "nfs:silent:/srv /var/crash", plan: "- /var/crash",
			omitted: "target nfs:silent:/srv is omitted: resolve the server: lookup silent: i/o timeout " + reload},
		{name: "between two servers", targets: "nfs:nas:/a sftp://dump@noroute/b nfs:nas:/c", change: func() { m.Write(knownFile, "noroute "+hostKey(t, 'a')+"\n") },
			plan: "nfs:nas:/a - nfs:nas:/c", omitted: "target sftp://dump@noroute/b is omitted: find the route to 192.0.2.7: network is unreachable " + reload},
		{name: "with a key", targets: "sftp://dump@noroute/b /var/crash", change: func() { m.Write(knownFile, "noroute "+hostKey(t, 'a')+"\n") },
			plan: "- /var/crash", omitted: "target sftp://dump@noroute/b is omitted: find the route to 192.0.2.7: network is unreachable " + reload},
		{name: "no server at all", targets: "nfs:noroute:/srv nfs:typo:/srv",
			refused: "target nfs:noroute:/srv: find the route to 192.0.2.7: network is unreachable Run kdumpctl reload when the server can be reached, or add a directory on this machine to TARGET=."},
		{name: "Wi-Fi", targets: "nfs:wifi:/srv /var/crash", refused: "target nfs:wifi:/srv: route to wifi: Wi-Fi link wlan0 is not supported"},
		{name: "this machine", targets: "nfs:self:/srv /var/crash", refused: "target nfs:self:/srv: route to self: server on this machine"},
		{name: "no route and no key", targets: "sftp://dump@noroute/srv /var/crash", change: func() { m.Remove(sshKeyFile) }, refused: "target sftp://dump@noroute/srv: no SSH key"},
		{name: "no route and no host key", targets: "sftp://dump@noroute/srv /var/crash", refused: "target sftp://dump@noroute/srv: no host key of noroute"},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			m.Write(confFile, "TARGET=\""+tt.targets+"\"\n")
			if tt.change != nil {
				tt.change()
			}
			c, err := config.Load(m.Root)
			if err != nil {
				t.Fatal(err)
			}
			b, err := New(Options{Root: m.Root, Config: c, Pid1: m.Pid1, Route: route})
			if tt.refused != "" {
				if err == nil || !strings.HasPrefix(err.Error()+" "+advice.For(err), tt.refused) {
					t.Errorf("got %v %s\nwant %s", err, advice.For(err), tt.refused)
				}
				if errors.As(err, new(*OmittedError)) {
					t.Errorf("%v is an error of an omitted target", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := placed(b); got != tt.plan {
				t.Errorf("targets %s, want %s", got, tt.plan)
			}
			var omitted []string
			for _, o := range b.Omitted {
				omitted = append(omitted, o.Error(), o.Advice())
			}
			if got := strings.Join(omitted, " "); got != tt.omitted || !strings.Contains(strings.Join(b.AllWarnings(), " "), got) {
				t.Errorf("omitted:\n%s\nwant\n%s\nwarnings %q", got, tt.omitted, b.AllWarnings())
			}
			for _, f := range b.Files {
				if strings.HasPrefix(f.Path, netplan.Dir) {
					t.Errorf("the image has %s of a target that is omitted", f.Path)
				}
			}
			if _, err := fs.ReadFile(b.RemoteFiles(), netplan.Dir+"/0-key"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the key of a target that is omitted: %v", err)
			}
			data, err := b.Plan.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := plan.Parse(data); err != nil {
				t.Errorf("PID 1 refuses the plan: %v", err)
			}
		})
	}
}

// placed returns the targets of an image, with a dash for each omitted one.
func placed(b *Build) string {
	var list []string
	dashes := func(before int) {
		for _, o := range b.Omitted {
			if o.Before == before {
				list = append(list, "-")
			}
		}
	}
	for i, t := range b.Plan.Targets {
		dashes(i)
		list = append(list, t.Dir)
	}
	dashes(len(b.Plan.Targets))
	return strings.Join(list, " ")
}

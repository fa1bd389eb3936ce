package verify

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/netplan"
	"ukdump/internal/plan"
)

// serverPlan is a plan with one server, as it is built.
func serverPlan(change func(p *netplan.Plan)) *plan.Plan {
	addr := netip.MustParseAddr
	p := &netplan.Plan{Servers: []netplan.Server{{
		Target: "sftp://nas/srv", Protocol: netplan.ProtocolSFTP, Host: "nas", Port: 22, Path: "/srv", HostKeys: []string{"ssh-ed25519 AAAA"},
		Addresses: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")},
		Network: netplan.Network{
			Links:     []netplan.Link{{Kind: netplan.Ethernet, Name: "eth0", MAC: "52:54:00:12:34:56"}},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")},
		},
	}}, Recipients: []string{"age1x"}}
	change(p)
	return &plan.Plan{Remote: p}
}

// Changes of the network make an image out of date only if they matter.
func TestRemoteChanges(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(p *netplan.Plan)
		want   string // "" for none
	}{
		{"nothing", func(*netplan.Plan) {}, ""},
		{"order of the addresses", func(p *netplan.Plan) { slices.Reverse(p.Servers[0].Addresses) }, ""},
		{"fewer addresses", func(p *netplan.Plan) { p.Servers[0].Addresses = p.Servers[0].Addresses[1:] }, ""},
		{"another address", func(p *netplan.Plan) { p.Servers[0].Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.3")} }, "the addresses of the server have changed since the build"},
		{"another card", func(p *netplan.Plan) { p.Servers[0].Network.Links[0].MAC = "52:54:00:12:34:57" }, "changed since the build: network card"},
		{"another address of its own", func(p *netplan.Plan) {
			p.Servers[0].Network.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}
		}, "changed since the build: own address"},
		{"another host key", func(p *netplan.Plan) { p.Servers[0].HostKeys = []string{"ssh-ed25519 BBBB"} }, "changed since the build: keys of the server"},
		{"another recipient", func(p *netplan.Plan) { p.Recipients = []string{"age1y"} }, "the encryption"},
		{"no encryption", func(p *netplan.Plan) { p.Recipients = nil }, "the encryption"},
		{"the report too", func(p *netplan.Plan) { p.EncryptReport = true }, "the encryption"},
		{"a new target", func(p *netplan.Plan) { p.Servers[0].Target = "sftp://nas/other" }, ""}, // another check
	} {
		got := remoteChanges(serverPlan(func(*netplan.Plan) {}), serverPlan(tt.change))
		if (tt.want == "") != (len(got) == 0) || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := remoteChanges(&plan.Plan{}, &plan.Plan{}); len(got) > 0 {
		t.Errorf("without servers: %q", got)
	}
	if got := remoteChanges(&plan.Plan{Remote: 1}, &plan.Plan{}); len(got) != 1 {
		t.Errorf("a plan of garbage: %q", got)
	}
}

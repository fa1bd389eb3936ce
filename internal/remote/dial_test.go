package remote

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestDialAny(t *testing.T) {
	was := headStart
	headStart = time.Millisecond
	t.Cleanup(func() { headStart = was })
	refused := errors.New("refused")
	for _, tt := range []struct {
		name, addresses string // silent, refusing or good
		want            string
	}{
		{"good", "192.0.2.3", "192.0.2.3"},
		{"refusing first", "192.0.2.2 192.0.2.3", "192.0.2.3"},
		{"silent first", "192.0.2.1 192.0.2.3", "192.0.2.3"},
		{"many silent ones", strings.Repeat("192.0.2.1 ", 15) + "192.0.2.3", "192.0.2.3"},
		{"IPv6", "192.0.2.1 2001:db8::3", "2001:db8::3"},
		{"none answers", "192.0.2.2 192.0.2.2", ""},
		{"no address", "", ""},
	} {
		release := make(chan struct{})
		var got string
		dial := func(_, addr string, _ time.Duration) (net.Conn, error) {
			at := netip.MustParseAddrPort(addr).Addr()
			switch {
			case strings.HasSuffix(at.String(), "1"):
				<-release
				return nil, errors.New("timed out")
			case strings.HasSuffix(at.String(), "2"):
				return nil, refused
			}
			got = at.String()
			a, b := net.Pipe()
			b.Close()
			return a, nil
		}
		var list []netip.Addr
		for _, a := range strings.Fields(tt.addresses) {
			list = append(list, netip.MustParseAddr(a))
		}
		c, err := dialAny(dial, list, 22)
		close(release)
		switch {
		case tt.want == "" && (err == nil || len(list) > 0 && !errors.Is(err, refused) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: got %v", tt.name, err)
		case tt.want != "" && (err != nil || got != tt.want):
			t.Errorf("%s: got %q, %v, want %s", tt.name, got, err, tt.want)
		}
		if c != nil {
			c.Close()
		}
	}
}

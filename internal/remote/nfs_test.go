package remote

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
)

// The versions that are tried, and the error that names the cause.
func TestMountNFS(t *testing.T) {
	const kerberos = "the server refuses sec=sys: it wants Kerberos, or does not export this path to this machine"
	for _, tt := range []struct {
		name, version string
		addresses     string
		answers       map[string]error // by version; nil is success
		tried         string
		want          string // version, or the error
	}{
		{"4.2", "4.2", "192.0.2.1", nil, "4.2", "4.2 as nfs4"},
		{"old server", "4.2", "192.0.2.1", map[string]error{"4.2": unix.EPROTONOSUPPORT, "4.1": unix.EINVAL}, "4.2 4.1 4.0", "4.0 as nfs4"},
		{"3", "3", "192.0.2.1", nil, "3", "3 as nfs"},
		{"Kerberos by 4", "4.2", "192.0.2.1", map[string]error{"4.2": unix.EPERM}, "4.2",
			"mount 192.0.2.1:/srv by NFS 4.2: operation not permitted (" + kerberos + ")"},
		{"Kerberos by 3", "3", "192.0.2.1", map[string]error{"3": unix.EACCES}, "3",
			"mount 192.0.2.1:/srv by NFS 3: permission denied (the server does not export this path to this machine, or wants Kerberos)"},
		{"no path", "4.1", "2001:db8::1", map[string]error{"4.1": unix.ENOENT}, "4.1", "mount [2001:db8::1]:/srv by NFS 4.1: no such file or directory (the server has no such path)"},
		{"another address", "4.2", "192.0.2.1 192.0.2.2", map[string]error{"192.0.2.1": unix.ETIMEDOUT}, "4.2 4.2", "4.2 as nfs4"},
		{"no client", "3", "192.0.2.1", map[string]error{"3": unix.ENODEV}, "3", "mount 192.0.2.1:/srv by NFS 3: no such device (this kernel has no client for it)"},
	} {
		s := &netplan.Server{Protocol: netplan.ProtocolNFS, Path: "/srv", Port: 2049, Version: tt.version}
		for a := range strings.FieldsSeq(tt.addresses) {
			s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
		}
		var tried []string
		fstype, version, err := MountNFS(s, "/mnt", func(source, target, fstype string, _ uintptr, options string) error {
			_, rest, _ := strings.Cut(options, "vers=")
			v, _, _ := strings.Cut(rest, ",")
			tried = append(tried, v)
			host, _, _ := strings.Cut(source, ":/")
			if target != "/mnt" || !strings.Contains(options, "addr="+strings.Trim(host, "[]")+",") || !strings.Contains(options, "sec=sys,soft,") {
				t.Errorf("%s: mount %s %s %s %s", tt.name, source, target, fstype, options)
			}
			if err := tt.answers[host]; err != nil {
				return err
			}
			return tt.answers[v]
		})
		got := fmt.Sprintf("%s as %s", version, fstype)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want || strings.Join(tried, " ") != tt.tried {
			t.Errorf("%s: tried %s, got\n%s\nwant\n%s", tt.name, tried, got, tt.want)
		}
	}
}

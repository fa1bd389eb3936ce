package host

import (
	"net/netip"
	"testing"
)

func TestExportSecurity(t *testing.T) {
	const (
		root = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
		nfs  = "40 22 0:40 / /srv rw - nfs4 nas:/srv rw,vers=4.2,sec=krb5p,addr=192.0.2.1\n"
	)
	for _, tt := range []struct {
		name, mounts, fstab string
		server, export      string
		want                string
	}{
		{"not mounted", root, "", "nas", "/srv", " "},
		{"mounted", root + nfs, "", "nas", "/srv", "krb5p at /srv"},
		{"mounted under another name", root + nfs, "", "nas.example.org", "/srv/", "krb5p at /srv"},
		{"another export", root + nfs, "", "nas", "/srv/crash", " "},
		{"another server", root + "40 22 0:40 / /srv rw - nfs4 other:/srv rw,sec=krb5,addr=192.0.2.9\n", "", "nas", "/srv", " "},
		{"by IPv6", root + "40 22 0:40 / /srv rw - nfs4 [2001:db8::1]:/srv rw,sec=krb5i,addr=2001:db8::1\n", "", "nas", "/srv", "krb5i at /srv"},
		{"mounted with sec=sys", root + "40 22 0:40 / /srv rw - nfs nas:/srv rw,vers=3,sec=sys,addr=192.0.2.1\n", "", "nas", "/srv", " "},
		{"not NFS", root + "40 22 0:40 / /srv rw - cifs nas:/srv rw,sec=krb5,addr=192.0.2.1\n", "", "nas", "/srv", " "},
		{"in fstab", root, "nas:/srv /mnt nfs rw,sec=krb5:krb5i 0 0\n", "nas", "/srv", "krb5:krb5i by configuration at /mnt"},
		{"in fstab by address", root, "192.0.2.1:/srv /mnt nfs4 sec=krb5\n", "nas", "/srv", "krb5 by configuration at /mnt"},
		{"in fstab, with a choice", root, "nas:/srv /mnt nfs sec=krb5:sys 0 0\n", "nas", "/srv", " "},
		{"in fstab, without sec=", root, "nas:/srv /mnt nfs defaults 0 0\n", "nas", "/srv", " "},
		{"in fstab, another name", root, "other:/srv /mnt nfs sec=krb5\n", "nas", "/srv", " "},
		{"the last of two counts", root, "NAS:/srv /mnt nfs4 sec=krb5,sec=krb5p\n", "nas", "/srv", "krb5p by configuration at /mnt"},
	} {
		h := machine(t, map[string]string{"proc/self/mountinfo": tt.mounts, "etc/fstab": tt.fstab})
		addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		sec, where := h.ExportSecurity(tt.server, addresses, tt.export)
		if got := sec + " " + where; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

package builder

import (
	"errors"
	"net/netip"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/mountd"
)

// The server's own answer decides about Kerberos, and without one the mounts of the machine.
func TestKerberos(t *testing.T) {
	const advised = " Export it with sec=sys to this machine, or set TARGET= to an sftp:// target."
	m := serverMachine(t)
	silent := errors.New("no answer")
	for _, tt := range []struct {
		name, targets, fstab string
		answer               []mountd.Flavour
		failure              error
		want                 string // error and advice
		asked                int
	}{
		{"sys", "nfs:nas:/srv", "", []mountd.Flavour{mountd.Sys}, nil, " ", 1},
		{"Kerberos", "nfs:nas:/srv", "", []mountd.Flavour{mountd.Krb5p, mountd.Krb5}, nil,
			"target nfs:nas:/srv: the server wants Kerberos (sec=krb5p), for which the capture kernel has no keys" + advised, 1},
		{"no answer", "nfs:nas:/srv", "", nil, silent, " ", 1},
		{"refused", "nfs:nas:/srv", "", nil, &mountd.Refusal{Export: "/srv", Status: 13}, " ", 1},
		{"no answer, and fstab has Kerberos", "nfs:nas:/srv", "nas:/srv /mnt nfs4 sec=krb5i 0 0\n", nil, silent,
			"target nfs:nas:/srv: this machine mounts the export with Kerberos (sec=krb5i, by configuration at /mnt), for which the capture kernel has no keys" + advised, 1},
		{"both, and fstab has Kerberos", "nfs:nas:/srv", "nas:/srv /mnt nfs4 sec=krb5i 0 0\n", []mountd.Flavour{mountd.Krb5i, mountd.Sys}, nil, " ", 1},
		{"the second of two", "nfs:nas:/other nfs:nas:/srv", "nas:/srv /mnt nfs4 sec=krb5 0 0\n", nil, silent,
			"target nfs:nas:/srv: this machine mounts the export with Kerberos (sec=krb5, by configuration at /mnt), for which the capture kernel has no keys" + advised, 2},
		{"no NFS", "sftp://dump@nas/srv", "nas:/srv /mnt nfs4 sec=krb5 0 0\n", []mountd.Flavour{mountd.Krb5}, nil, " ", 0},
		{"no server", "/var/crash", "", []mountd.Flavour{mountd.Krb5}, nil, " ", 0},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			m.Write(confFile, "TARGET=\""+tt.targets+"\"\n")
			m.Write("etc/fstab", tt.fstab)
			b, err := remoteBuild(m)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			err = b.CheckNFS(func(addresses []netip.Addr, export string) ([]mountd.Flavour, error) {
				asked++
				return tt.answer, tt.failure
			})
			got := " "
			if err != nil {
				got = err.Error() + " " + advice.For(err)
			}
			if got != tt.want || asked != tt.asked {
				t.Errorf("asked %d times, got\n%s\nwant\n%s", asked, got, tt.want)
			}
		})
	}
}

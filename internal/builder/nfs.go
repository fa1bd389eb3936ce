package builder

import (
	"net/netip"

	"ukdump/internal/mountd"
	"ukdump/internal/netplan"
)

// Asker is mountd.Ask, or a test's own.
type Asker func(addresses []netip.Addr, export string) ([]mountd.Flavour, error)

// KerberosError says that an NFS server wants Kerberos.
type KerberosError struct {
	Target string // as in plan.Target.Dir
	Sec    string // flavours as in nfs(5), sec=
	Mount  string // that shows it, "at /srv"; "" if the server itself said so
}

func (e *KerberosError) Error() string {
	text := "target " + e.Target + ": the server wants Kerberos (sec=" + e.Sec + ")"
	if e.Mount != "" {
		text = "target " + e.Target + ": this machine mounts the export with Kerberos (sec=" + e.Sec + ", " + e.Mount + ")"
	}
	return text + ", for which the capture kernel has no keys"
}

// Advice returns the remedy.
func (e *KerberosError) Advice() string {
	return "Export it with sec=sys to this machine, or set TARGET= to an sftp:// target."
}

// CheckNFS returns a *KerberosError for the first export that the capture kernel cannot mount
// without Kerberos. It takes at most mountd.Limit for each target.
func (b *Build) CheckNFS(ask Asker) error {
	if b.Plan.Remote == nil {
		return nil
	}
	for i := range b.remotePlan().Servers {
		if err := b.Kerberos(&b.remotePlan().Servers[i], ask); err != nil {
			return err
		}
	}
	return nil
}

// Kerberos returns a *KerberosError if s is an NFS server that wants Kerberos. The server
// decides; if it does not answer, as servers of NFS 4 alone, the mounts of this machine do.
func (b *Build) Kerberos(s *netplan.Server, ask Asker) error {
	if s.Protocol != netplan.ProtocolNFS {
		return nil
	}
	if list, err := ask(s.Addresses, s.Path); err == nil && len(list) > 0 {
		if sec := mountd.Kerberos(list); sec != "" {
			return &KerberosError{Target: s.Target, Sec: sec}
		}
		return nil
	}
	if sec, where := b.host.ExportSecurity(s.Host, s.Addresses, s.Path); sec != "" {
		return &KerberosError{Target: s.Target, Sec: sec, Mount: where}
	}
	return nil
}

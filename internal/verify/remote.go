package verify

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/remote"
)

// checkServer writes to the server of a target, reads back and removes the file, with the
// keys of the image. It returns the space there.
func (v *Run) checkServer(t *plan.Target) []Space {
	p, err := netplan.Of(v.build.Plan.Remote)
	if v.Problem("target", err) {
		return nil
	}
	s := p.Server(t.Dir)
	task := v.Out.Begin("writing to %s", t.Dir)
	var remarks []string
	space := Space{Name: t.Dir, Most: math.MaxInt64, Server: true}
	if s.Protocol == netplan.ProtocolNFS {
		remarks, space.Free, err = v.probeNFS(s)
	} else {
		remarks, space.Free, err = v.probeStore(s)
	}
	task.End()
	if v.Problem("target", err) {
		return nil
	}
	v.served = append(v.served, t.Dir)
	v.ok("target", "%s is writable, by %s", t.Dir, wayName(&s.Network))
	for _, r := range remarks {
		v.note("target", "%s: %s", t.Dir, r)
	}
	return []Space{space}
}

// wayName describes the last link of a way.
func wayName(n *netplan.Network) string {
	var addresses []string
	for _, a := range n.Addresses {
		addresses = append(addresses, a.Addr().String())
	}
	text := n.Links[len(n.Links)-1].Name + " (" + strings.Join(addresses, ", ") + ")"
	if n.DHCP {
		text += ", address by DHCP"
	}
	if n.RA {
		text += ", router advertisement"
	}
	return text
}

func (v *Run) probeStore(s *netplan.Server) (remarks []string, free int64, err error) {
	store, err := remote.Open(s, v.build.RemoteFiles(), remote.Options{})
	if err != nil {
		return nil, 0, err
	}
	defer store.Close()
	r, err := store.Probe()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.Target, err)
	}
	return r.Remarks, r.Room, nil
}

// probeNFS mounts the export as the capture kernel does, out of sight of other programs.
func (v *Run) probeNFS(s *netplan.Server) (remarks []string, free int64, err error) {
	private, err := os.MkdirTemp("", "ukdump-nfs-") // mode 0700: nobody gets to the export in it
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(private)
	dir := filepath.Join(private, "export")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, 0, err
	}
	defer os.Remove(dir)
	fstype, version, err := remote.MountNFS(s, dir, unix.Mount)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		if kerberos := v.build.Kerberos(s, v.AskNFS()); kerberos != nil {
			return nil, 0, kerberos
		}
	}
	if err != nil {
		return nil, 0, advice.With(fmt.Errorf("%s: %w", s.Target, err), "Export this path to this machine on the server, with write access for root or nobody.")
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	at := filepath.Join(dir, netplan.MachineDir(v.build.Plan.Host.Name, v.build.Plan.Host.MachineID))
	made := os.Mkdir(at, 0o700) == nil
	err = v.TryWrite(at)
	if made {
		os.Remove(at)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("write to %s: %w", s.Target, err)
	}
	free = -1
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		free = int64(st.Bavail) * st.Bsize
	}
	if version != s.Version {
		remarks = append(remarks, fmt.Sprintf("the server offers NFS %s (%s), not %s", version, fstype, s.Version))
	}
	return remarks, free, nil
}

// remoteChanges says where the servers and the way to them are not those for now.
func remoteChanges(p, now *plan.Plan) (list []string) {
	have, err := netplan.Of(p.Remote)
	want, werr := netplan.Of(now.Remote)
	if err != nil || werr != nil {
		return []string{errors.Join(err, werr).Error()}
	}
	for i := range want.Servers {
		n := &want.Servers[i]
		h := have.Server(n.Target)
		if h == nil {
			continue // the targets tell
		}
		// Names with several addresses give them in any order, or only some of them.
		if !slices.ContainsFunc(h.Addresses, func(a netip.Addr) bool { return slices.Contains(n.Addresses, a) }) {
			list = append(list, fmt.Sprintf("%s: the addresses of the server have changed since the build", n.Target))
		}
		for _, x := range []struct {
			name      string
			have, now any
		}{
			{"network card", h.Network.Links, n.Network.Links},
			{"own address", h.Network.Addresses, n.Network.Addresses},
			{"routes", h.Network.Routes, n.Network.Routes},
			{"keys of the server", h.HostKeys, n.HostKeys},
		} {
			if !reflect.DeepEqual(x.have, x.now) {
				list = append(list, fmt.Sprintf("%s: changed since the build: %s", n.Target, x.name))
			}
		}
	}
	if !reflect.DeepEqual(have.Recipients, want.Recipients) || have.EncryptReport != want.EncryptReport {
		list = append(list, "differs from the configuration: the encryption")
	}
	return list
}

// lastServed adds the servers that this run wrote to, to those of earlier runs.
func (v *Run) lastServed() map[string]time.Time {
	last := make(map[string]time.Time)
	if old, err := v.Store.Verified(); err == nil {
		for _, t := range v.conf.Targets {
			if at, ok := old.Served[t.String()]; ok {
				last[t.String()] = at
			}
		}
	}
	for _, name := range v.served {
		last[name] = v.began.UTC()
	}
	return last
}

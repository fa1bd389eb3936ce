package remote

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"ukdump/internal/netplan"
)

// nfsFlags disable all that a dump does not need.
const nfsFlags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOSUID

// MountNFS mounts the export of s on dir by mount, which is unix.Mount, and returns the type
// of the file system and the version. It tries lower versions of NFS 4, too. The kernel's
// client needs no helper, see nfs(5) and fs/nfs/fs_context.c.
func MountNFS(s *netplan.Server, dir string, mount func(source, target, fstype string, flags uintptr, data string) error) (fstype, version string, err error) {
	var errs []error
	for _, a := range s.Addresses {
		host := a.String()
		if a.Is6() {
			host = "[" + host + "]"
		}
		for _, version := range nfsVersions(s.Version) {
			fstype, options := nfsOptions(a, version, s.Port)
			if err := mount(host+":"+s.Path, dir, fstype, nfsFlags, options); err == nil {
				return fstype, version, nil
			} else {
				errs = append(errs, fmt.Errorf("mount %s:%s by NFS %s: %w%s", host, s.Path, version, err, nfsCause(err)))
				if err != unix.EPROTONOSUPPORT && err != unix.EINVAL {
					break // no matter of the version
				}
			}
		}
	}
	return "", "", &dialError{errs}
}

// nfsVersions returns the versions to try, that of the plan first.
func nfsVersions(first string) []string {
	if first == "3" {
		return []string{"3"}
	}
	list := []string{"4.2", "4.1", "4.0"}
	for len(list) > 1 && list[0] != first {
		list = list[1:]
	}
	return list
}

// nfsOptions returns the type and the options of mount(2) for a server's address. soft: a
// server that is gone must not block a process for ever; fsync(2) and close(2) report the
// data that was lost.
func nfsOptions(a netip.Addr, version string, port int) (fstype, options string) {
	proto := "tcp"
	if a.Is6() {
		proto = "tcp6"
	}
	options = "addr=" + a.String() + ",vers=" + version + ",proto=" + proto + ",sec=sys,soft,timeo=100,retrans=3"
	if version == "3" {
		// The kernel asks the server's rpcbind for mountd. Locks need a daemon.
		return "nfs", options + ",nolock,mountproto=" + proto + ",mountaddr=" + a.String()
	}
	return "nfs4", options + ",port=" + strconv.Itoa(port)
}

// nfsCause explains the errors of mount(2) that servers cause.
func nfsCause(err error) string {
	switch {
	case errors.Is(err, unix.EPERM): // of NFS4ERR_WRONGSEC, and of the root's EACCES (fs/nfs/nfs4proc.c)
		return " (the server refuses sec=sys: it wants Kerberos, or does not export this path to this machine)"
	case errors.Is(err, unix.EACCES):
		return " (the server does not export this path to this machine, or wants Kerberos)"
	case errors.Is(err, unix.ENOENT):
		return " (the server has no such path)"
	case errors.Is(err, unix.EPROTONOSUPPORT):
		return " (the server does not offer this version)"
	case errors.Is(err, unix.ENODEV):
		return " (this kernel has no client for it)"
	}
	return ""
}

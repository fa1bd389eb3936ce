package host

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// ExportSecurity returns the option sec= of nfs(5) with which this machine mounts an export
// now, or is configured to, and where. Both are "" if it does not mount the export, or could
// without Kerberos. server is the name of the server, addresses are its own.
func (h *Host) ExportSecurity(server string, addresses []netip.Addr, export string) (sec, where string) {
	is := func(source, options string) bool {
		name, dir, ok := cutSource(source)
		if !ok || path.Clean(dir) != path.Clean(export) {
			return false
		}
		// The kernel shows the address of a mounted server as addr=.
		for _, text := range []string{name, option(options, "addr")} {
			if a, err := netip.ParseAddr(text); err == nil && slices.Contains(addresses, a.Unmap()) {
				return true
			}
		}
		return strings.EqualFold(name, strings.Trim(server, "[]"))
	}
	mounts, _ := h.Mounts()
	for _, m := range mounts {
		if sec := kerberos(m.Super); sec != "" && isNFS(m.FSType) && is(m.Source, m.Super) {
			return sec, "at " + m.Point
		}
	}
	for _, m := range h.mountTable().list {
		if sec := kerberos(m.Options); sec != "" && isNFS(m.FSType) && is(m.What, m.Options) {
			return sec, "by configuration at " + m.Point
		}
	}
	return "", ""
}

func isNFS(fstype string) bool { return fstype == "nfs" || fstype == "nfs4" }

// cutSource splits HOST:/PATH, where HOST can be an IPv6 address in brackets.
func cutSource(source string) (host, dir string, ok bool) {
	i := strings.Index(source, ":/")
	if i < 0 {
		return "", "", false
	}
	return strings.Trim(source[:i], "[]"), source[i+1:], true
}

// option returns the value of an option of mount(8), the last if there are several; "" if it
// is not set.
func option(options, name string) (value string) {
	for o := range strings.SplitSeq(options, ",") {
		if v, ok := strings.CutPrefix(o, name+"="); ok {
			value = v
		}
	}
	return value
}

// kerberos returns the flavours of sec= if all of them need Kerberos, else "".
func kerberos(options string) string {
	sec := option(options, "sec")
	for f := range strings.SplitSeq(sec, ":") {
		if !strings.HasPrefix(f, "krb5") {
			return ""
		}
	}
	return sec
}

package debug

import (
	"fmt"
	"slices"
	"strings"
)

// install says which command installs the debug information of a kernel, by the
// distribution that os-release(5) names.
func install(os map[string]string, k Kernel) string {
	like := append([]string{os["ID"]}, strings.Fields(os["ID_LIKE"])...)
	is := func(ids ...string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(like, id) })
	}
	release := k.Release
	if !plain(release) {
		return "Install the debug information of that kernel, or give --vmlinux FILE."
	}
	switch {
	case is("ubuntu"):
		// https://documentation.ubuntu.com/server: debug symbol packages
		return fmt.Sprintf("Run apt-get install linux-image-%s-dbgsym; it is on ddebs.ubuntu.com, see the package ubuntu-dbgsym-keyring.", release)
	case is("debian"):
		return fmt.Sprintf("Run apt-get install linux-image-%s-dbg.", release)
	case is("fedora", "rhel", "centos"):
		return fmt.Sprintf("Run dnf debuginfo-install kernel-core-%s.", release)
	case is("arch"):
		return "Run it again with DEBUGINFOD_URLS=https://debuginfod.archlinux.org and the package debuginfod."
	case is("suse", "opensuse"):
		// The flavour is the last word of the release: 6.4.0-150600.23.7-default
		flavour := release[strings.LastIndexByte(release, '-')+1:]
		return fmt.Sprintf("Run zypper --plus-content debug install kernel-%s-debuginfo.", flavour)
	}
	return fmt.Sprintf("Install the debug information of kernel %s, or give --vmlinux FILE.", release)
}

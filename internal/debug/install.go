package debug

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A distribution packs debug information of its kernels.
type distribution struct {
	ids []string // in os-release(5)
	// release matches the releases of its kernels, and banner, if it is not nil, uname -v.
	release, banner *regexp.Regexp
	command         func(release string) string
}

var distributions = []distribution{
	{
		[]string{"ubuntu"}, regexp.MustCompile(`^\d+\.\d+\.\d+-\d+(-[a-z0-9]+)+$`), regexp.MustCompile(`^#\d+(~[0-9.]+)?-Ubuntu `),
		// https://documentation.ubuntu.com/server: debug symbol packages
		func(release string) string {
			return fmt.Sprintf("Run apt-get install linux-image-%s-dbgsym; it is on ddebs.ubuntu.com, see the package ubuntu-dbgsym-keyring.", release)
		},
	}, {
		// 6.1.0-50-amd64, 6.1.0-0.deb11.21-cloud-amd64, 6.12.48+deb13-amd64, 6.12.9+bpo-amd64:
		// debian/bin/gencontrol.py of the package linux; 6.6.51+rpt-rpi-v8 of Raspberry Pi OS
		[]string{"debian"}, regexp.MustCompile(`^\d+\.\d+(\.\d+)?(-rc\d+|-\d+|-0\.(deb|bpo)[0-9.]+|\+[a-z][0-9a-z.+~]*)-(cloud-|rt-|rpi-)?(amd64|arm64(-16k)?|v8|2712)$`), regexp.MustCompile(` Debian \d`),
		func(release string) string { return fmt.Sprintf("Run apt-get install linux-image-%s-dbg.", release) },
	}, {
		// The %{dist} of the package: fc42, el9, el9uek, amzn2023
		[]string{"fedora", "rhel", "centos"}, regexp.MustCompile(`\.(fc|el|amzn|hs|lf)\d[a-z0-9_]*(\.[a-z0-9_+]+)*$`), nil,
		func(release string) string { return fmt.Sprintf("Run dnf debuginfo-install kernel-core-%s.", release) },
	}, {
		// 6.10.1-arch1-1, 6.6.41-1-lts, 6.10.1-zen1-1-zen, 6.9.10-hardened1-1-hardened
		[]string{"arch"}, regexp.MustCompile(`-(arch|zen|hardened|rt)\d+-\d+(-[a-z-]+)?$|-\d+-(lts|rt|rt-lts|hardened)$`), nil,
		func(string) string {
			return "Run it again with DEBUGINFOD_URLS=https://debuginfod.archlinux.org and the package debuginfod."
		},
	}, {
		// The flavour is the last word: 6.4.0-150600.23.7-default
		[]string{"suse", "opensuse"}, regexp.MustCompile(`-\d[0-9.]*-(default|preempt|rt|azure|kvmsmall|debug|vanilla|64kb|longterm)$`), nil,
		func(release string) string {
			flavour := release[strings.LastIndexByte(release, '-')+1:]
			return fmt.Sprintf("Run zypper --plus-content debug install kernel-%s-debuginfo.", flavour)
		},
	},
}

// packed reports whether a package of the distribution has the kernel, as far as its texts
// show that.
func (d *distribution) packed(k Kernel) bool {
	if !d.release.MatchString(k.Release) {
		return false
	}
	return d.banner == nil || k.Version == "" || d.banner.MatchString(k.Version)
}

// install says which command installs the debug information of a kernel, by the
// distribution that os-release(5) names, or that no package of it has any.
func install(os map[string]string, k Kernel) string {
	like := append([]string{os["ID"]}, strings.Fields(os["ID_LIKE"])...)
	if !plain(k.Release) {
		return "Install the debug information of that kernel, or give --vmlinux FILE."
	}
	for i := range distributions {
		d := &distributions[i]
		if !slices.ContainsFunc(d.ids, func(id string) bool { return slices.Contains(like, id) }) {
			continue
		}
		if d.packed(k) {
			return d.command(k.Release)
		}
		return fmt.Sprintf("This distribution has no debug information of kernel %s: somebody built it by hand, or it is of another system. Give --vmlinux the vmlinux of its build tree%s.", k.Release, withBuildID(k))
	}
	return fmt.Sprintf("Install the debug information of kernel %s, or give --vmlinux FILE.", k.Release)
}

// withBuildID is how a vmlinux is recognised.
func withBuildID(k Kernel) string {
	if k.BuildID == "" {
		return ""
	}
	return ", with build ID " + k.BuildID
}

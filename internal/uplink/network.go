package uplink

import (
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/capture"
	"ukdump/internal/netconf"
	"ukdump/internal/netplan"
	"ukdump/internal/remote"
	"ukdump/internal/seal"
)

// Network is capture.RoleNetwork: it sets the network up for the target in args, and
// connects to the server once. If the recorded address does not reach it, and that came
// from DHCP or a router, a new one is asked for.
func Network(args []string) int {
	return run(args, 1, func(args []string) error {
		j, err := open(args[0])
		if err != nil {
			return err
		}
		s := j.server
		seedKernel()
		deadline := time.Now().Add(time.Duration(2*j.plan.Deadlines.Device) * time.Second)
		// In between there are waits for a carrier and for DHCP.
		beat := &meter{}
		stop := every(time.Second, beat.beat)
		defer stop()
		log := func(format string, a ...any) { say(capture.SayLog, format, a...) }
		try := func(up setUp) error {
			r, err := up(&s.Network, s.Addresses, deadline, log)
			if err != nil {
				return err
			}
			log("%s is up with %s", r.Link, joinPrefixes(r.Addresses))
			return remote.Reach(s.Addresses, s.Port)
		}
		err = try(netconf.Up)
		for turn := 1; err != nil && netconf.NextPort(&s.Network, turn); turn++ {
			warn("%v: trying another port of the bond", err)
			err = try(netconf.Up)
		}
		by := renewal(&s.Network)
		if err == nil || by == "" {
			return err
		}
		warn("the recorded address does not reach the server: %v: requesting another by %s", err, by)
		return try(netconf.Renew)
	})
}

// renewal returns the origin of addresses that netconf.Renew can ask again, "" if it cannot.
func renewal(n *netplan.Network) string {
	switch {
	case n.DHCP && n.RA:
		return "DHCP and router advertisement"
	case n.DHCP:
		return "DHCP"
	case n.RA:
		return "router advertisement"
	}
	return ""
}

// setUp is netconf.Up or netconf.Renew.
type setUp func(n *netplan.Network, servers []netip.Addr, deadline time.Time, log func(format string, a ...any)) (netconf.Result, error)

// seedKernel gives the seed of the image, if it has one, to the kernel: SSH and TLS wait for
// its random numbers. Without it most kernels since 5.4 are fast enough.
func seedKernel() {
	if b, err := fs.ReadFile(root, netplan.SeedFile); err != nil || len(b) == 0 {
		return
	}
	if random, err := randomNumbers(); err == nil {
		seal.SeedKernel(random)
	}
}

// everyLimit is longer than any of these waits may take.
const everyLimit = 10 * time.Minute

// every calls f in intervals until the returned function is called, or everyLimit has passed:
// a bug must not look like progress for ever.
func every(interval time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		for range everyLimit / interval {
			select {
			case <-done:
				return
			case <-time.After(interval):
				f()
			}
		}
	}()
	return func() { close(done) }
}

func joinPrefixes(list []netip.Prefix) string {
	var text []string
	for _, p := range list {
		text = append(text, p.String())
	}
	return strings.Join(text, " ")
}

// MountNFS is capture.RoleNFS: it mounts the export of the target args[0] on args[1].
func MountNFS(args []string) int {
	return run(args, 2, func(args []string) error {
		j, err := open(args[0])
		if err != nil {
			return err
		}
		_, version, err := remote.MountNFS(j.server, args[1], unix.Mount)
		if err == nil {
			say(capture.SayLog, "%s is mounted by NFS %s", args[0], version)
		}
		return err
	})
}

package uplink

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/capture"
	"ukdump/internal/netconf"
	"ukdump/internal/netplan"
	"ukdump/internal/remote"
)

// dialLimit is the time for one connection to one address.
const dialLimit = 20 * time.Second

// Network is capture.RoleNetwork: it sets the network up for the target in args, and
// connects to the server once. If the recorded address does not reach it, and that came
// from DHCP, a new one is asked for.
func Network(args []string) int {
	return run(args, 1, func(args []string) error {
		j, err := open(args[0])
		if err != nil {
			return err
		}
		s := j.server
		deadline := time.Now().Add(time.Duration(2*j.plan.Deadlines.Device) * time.Second)
		// In between there are waits for a carrier and for DHCP.
		beat := &meter{}
		stop := every(time.Second, beat.beat)
		defer stop()
		log := func(format string, a ...any) { say(capture.SayLog, format, a...) }
		r, err := netconf.Up(&s.Network, s.Addresses, deadline, log)
		if err == nil {
			log("%s is up with %s", r.Link, joinPrefixes(r.Addresses))
			err = reach(s)
		}
		for turn := 1; err != nil && netconf.NextPort(&s.Network, turn); turn++ {
			warn("%v: trying another port of the bond", err)
			if r, err = netconf.Up(&s.Network, s.Addresses, deadline, log); err == nil {
				log("%s is up with %s", r.Link, joinPrefixes(r.Addresses))
				err = reach(s)
			}
		}
		if err == nil || !s.Network.DHCP {
			return err
		}
		warn("the recorded address does not reach the server: %v: asking DHCP for another", err)
		if r, err = netconf.Renew(&s.Network, s.Addresses, deadline, log); err != nil {
			return err
		}
		log("%s is up with %s", r.Link, joinPrefixes(r.Addresses))
		return reach(s)
	})
}

// every calls f in intervals until the returned function is called.
func every(interval time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
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

// reach connects to the server and closes the connection.
func reach(s *netplan.Server) error {
	var errs []string
	for _, a := range s.Addresses {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(a, uint16(s.Port)).String(), dialLimit)
		if err == nil {
			return c.Close()
		}
		errs = append(errs, err.Error())
	}
	return &brokenError{strings.Join(errs, "; ")}
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

package remote

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"
)

// headStart is the time that an address has before the next one is tried, too. Loss of the
// first packet costs one second (RFC 6298).
var headStart = 3 * time.Second

// Reach connects to a server and closes the connection.
func Reach(addresses []netip.Addr, port int) error {
	c, err := dialAny(net.DialTimeout, addresses, port)
	if err != nil {
		return err
	}
	return c.Close()
}

// dialer is net.DialTimeout, or a test's own.
type dialer func(network, addr string, timeout time.Duration) (net.Conn, error)

// dialed is the end of one try.
type dialed struct {
	c   net.Conn
	err error
}

// dialAny connects to the first address that answers (RFC 8305). Of a server with many
// addresses, of which most are gone, it finds one within a minute.
func dialAny(dial dialer, addresses []netip.Addr, port int) (net.Conn, error) {
	const maxErrors = 4 // in one message
	if len(addresses) == 0 {
		return nil, errors.New("no address")
	}
	results := make(chan dialed, len(addresses))
	next, running := 0, 0
	try := func() {
		addr := netip.AddrPortFrom(addresses[next], uint16(port)).String()
		next, running = next+1, running+1
		go func() {
			c, err := dial("tcp", addr, dialLimit)
			results <- dialed{c, err}
		}()
	}
	var failed []error
	for try(); running > 0; {
		var later <-chan time.Time
		if next < len(addresses) {
			later = time.After(headStart)
		}
		select {
		case r := <-results:
			running--
			if r.err == nil {
				go discard(results, running)
				return r.c, nil
			}
			if failed = append(failed, r.err); next < len(addresses) {
				try()
			}
		case <-later:
			try()
		}
	}
	if len(failed) == 1 {
		return nil, failed[0]
	}
	return nil, &dialError{failed[:min(len(failed), maxErrors)]}
}

// discard closes the connections of the other tries.
func discard(results <-chan dialed, running int) {
	for range running {
		if r := <-results; r.err == nil {
			r.c.Close()
		}
	}
}

// dialError is the errors of several addresses in one line.
type dialError struct{ errs []error }

func (e *dialError) Error() string {
	var text []string
	for _, err := range e.errs {
		text = append(text, err.Error())
	}
	return strings.Join(text, "; ")
}

// Unwrap lets a caller tell a lost connection from an answer.
func (e *dialError) Unwrap() []error { return e.errs }

// Package rtnl speaks rtnetlink(7), the kernel's protocol for network links, addresses
// and routes: it reads those of the running system, and sets those of the capture
// kernel. It links neither package net nor a netlink library, because the capture kernel
// pays for both in memory.
package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timeout is how long the kernel may take for one request.
const timeout = 10 * time.Second

// maxEntries bounds the answer to one request: hosts of containers have some thousand
// links, and nobody asks for the routing table of a router on the Internet.
const maxEntries = 65536

// tries is how often a dump is begun that changes interrupted.
const tries = 8

// ne is the byte order of netlink(7). Addresses and EtherTypes are big endian.
var ne = binary.NativeEndian

// Conn is a socket of rtnetlink. It is not safe for concurrent use. Each request ends
// within 10 seconds.
type Conn struct {
	fd   int
	port uint32 // address of the socket
	seq  uint32
	buf  []byte
}

// Open opens a socket in the network namespace of the calling thread.
func Open() (*Conn, error) {
	c, err := open()
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return c, nil
}

func open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The largest message of a dump is 32 KiB (netlink_dump() in net/netlink/af_netlink.c).
	c := &Conn{fd: fd, buf: make([]byte, 64<<10)}
	if err := c.bind(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) bind() error {
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	nl, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return errors.New("getsockname: not an address of netlink")
	}
	c.port = nl.Pid
	tv := unix.NsecToTimeval(int64(time.Second))
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	// Kernels before 4.12 do not explain their errors, which is no harm.
	unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return nil
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Error is the kernel's refusal of a request.
type Error struct {
	Errno unix.Errno
	Text  string // the kernel's explanation; may be empty
}

func (e *Error) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("%v (%s)", e.Errno, e.Text)
	}
	return e.Errno.Error()
}

// Unwrap returns the error number.
func (e *Error) Unwrap() error { return e.Errno }

// errInterrupted says that the kernel's tables changed during a dump.
var errInterrupted = errors.New("interrupted by changes")

// set sends a request that has no answer but its acknowledgement.
func (c *Conn) set(m *message) error {
	return c.exchange(m, unix.NLM_F_ACK, func(uint16, []byte) error { return nil })
}

// dump sends a request for a table and calls entry with each of its messages of type
// typ. begin is called before each attempt: it forgets the entries of an earlier one.
func (c *Conn) dump(m *message, typ uint16, begin func(), entry func([]byte) error) error {
	for try := 1; ; try++ {
		begin()
		err := c.exchange(m, unix.NLM_F_DUMP, func(t uint16, body []byte) error {
			if t != typ {
				return nil
			}
			return entry(body)
		})
		again := errors.Is(err, errInterrupted) || errors.Is(err, unix.ENOBUFS)
		if !again || try == tries {
			return err
		}
	}
}

// exchange sends a request and calls entry with type and body of each message of the
// answer.
func (c *Conn) exchange(m *message, flags uint16, entry func(typ uint16, body []byte) error) error {
	deadline := time.Now().Add(timeout)
	c.seq++
	if err := c.send(m.finish(flags|unix.NLM_F_REQUEST, c.seq, c.port)); err != nil {
		return err
	}
	interrupted := false
	for entries := 0; ; {
		b, err := c.receive(deadline)
		if err != nil {
			return err
		}
		for len(b) > 0 {
			h, body, rest, err := split(b)
			if err != nil {
				return err
			}
			b = rest
			if h.Seq != c.seq || h.Pid != c.port {
				continue // the late answer to a request that timed out
			}
			interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch h.Type {
			case unix.NLMSG_NOOP:
				continue
			case unix.NLMSG_OVERRUN:
				return unix.ENOBUFS
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				if err := status(h, body); err != nil || !interrupted {
					return err
				}
				return errInterrupted
			}
			if entries++; entries > maxEntries {
				return fmt.Errorf("more than %d entries", maxEntries)
			}
			if err := entry(h.Type, body); err != nil {
				return err
			}
		}
	}
}

func (c *Conn) send(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// receive returns the next datagram of the kernel.
func (c *Conn) receive(deadline time.Time) ([]byte, error) {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return nil, os.NewSyscallError("recvmsg", unix.ETIMEDOUT)
		}
		tv := unix.NsecToTimeval(int64(max(left, time.Millisecond)))
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
		n, _, flags, from, err := unix.Recvmsg(c.fd, c.buf, nil, 0)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("message of more than %d bytes", len(c.buf))
		}
		// Any process may send to the socket; only the kernel's port is 0.
		if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid == 0 {
			return c.buf[:n], nil
		}
	}
}

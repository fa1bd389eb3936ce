// Package mountd asks an NFS server for the security flavours of an export, by version 3 of
// the MOUNT protocol (RFC 1813, appendix I). Servers of NFS 4 alone do not speak it.
package mountd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Flavour is a number of a way to authenticate (IANA, RPC Authentication Numbers).
type Flavour uint32

// The flavours that matter here; those of Kerberos are in RFC 2623, section 2.
const (
	None  Flavour = 0
	Sys   Flavour = 1
	Krb5  Flavour = 390003
	Krb5i Flavour = 390004
	Krb5p Flavour = 390005
)

// String returns the flavour as in nfs(5), sec=.
func (f Flavour) String() string {
	switch f {
	case None:
		return "none"
	case Sys:
		return "sys"
	case Krb5:
		return "krb5"
	case Krb5i:
		return "krb5i"
	case Krb5p:
		return "krb5p"
	}
	return strconv.FormatUint(uint64(f), 10)
}

// Kerberos returns the first flavour of Kerberos in a list, if no flavour of the list works
// without: "krb5p". Otherwise it returns "".
func Kerberos(list []Flavour) string {
	if slices.Contains(list, Sys) || slices.Contains(list, None) {
		return ""
	}
	for _, f := range list {
		if f == Krb5 || f == Krb5i || f == Krb5p {
			return f.String()
		}
	}
	return ""
}

// Limit is how long Ask takes at most.
const Limit = 3 * time.Second

// Programs and procedures of ONC RPC.
const (
	mountProgram, mountVersion = 100005, 3
	procMount, procUmount      = 1, 3

	bindProgram = 100000 // RFC 1833
	procGetPort = 3      // of version 2, for IPv4
	procGetAddr = 3      // of version 3, for both families
)

// bindPort is the port of rpcbind(8); another one in tests.
var bindPort uint16 = 111

// Ask returns the security flavours of an export, as its server tells them to this machine.
// It asks the first address that answers. The error is a *Refusal if the server refuses the
// export.
func Ask(addresses []netip.Addr, export string) (list []Flavour, err error) {
	err = errors.New("no address")
	deadline := time.Now().Add(Limit)
	for _, a := range addresses {
		list, err = ask(a, export, deadline)
		if err == nil || errors.As(err, new(*Refusal)) {
			return list, err
		}
	}
	return nil, fmt.Errorf("ask for the security of %s: %w", export, err)
}

// Refusal is the answer of a server that does not let this machine mount the export.
type Refusal struct {
	Export string
	Status uint32 // mountstat3, RFC 1813
}

func (e *Refusal) Error() string {
	return fmt.Sprintf("the server refuses to mount %s: status %d", e.Export, e.Status)
}

func ask(a netip.Addr, export string, deadline time.Time) ([]Flavour, error) {
	port, err := mountPort(a, deadline)
	if err != nil {
		return nil, err
	}
	c, err := connect(netip.AddrPortFrom(a, port), deadline)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	answer, err := call(c, mountProgram, mountVersion, procMount, text(nil, export))
	if err != nil {
		return nil, err
	}
	list, err := mounted(answer, export)
	if err == nil {
		// The server lists the mount until it is undone.
		call(c, mountProgram, mountVersion, procUmount, text(nil, export))
	}
	return list, err
}

// mounted reads a mountres3.
func mounted(answer []byte, export string) ([]Flavour, error) {
	status, answer, err := number(answer)
	switch {
	case err != nil:
		return nil, err
	case status != 0:
		return nil, &Refusal{export, status}
	}
	_, answer, err = opaque(answer, 64) // FHSIZE3
	if err != nil {
		return nil, err
	}
	return flavours(answer)
}

// maxFlavours bounds an answer.
const maxFlavours = 64

func flavours(b []byte) (list []Flavour, err error) {
	n, b, err := number(b)
	if err != nil {
		return nil, err
	}
	if n > maxFlavours {
		return nil, fmt.Errorf("answer with %d security flavours", n)
	}
	for range n {
		var f uint32
		if f, b, err = number(b); err != nil {
			return nil, err
		}
		list = append(list, Flavour(f))
	}
	return list, nil
}

// mountPort asks rpcbind for the port of the MOUNT service.
func mountPort(a netip.Addr, deadline time.Time) (uint16, error) {
	c, err := connect(netip.AddrPortFrom(a, bindPort), deadline)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if a.Is4() {
		args := be.AppendUint32(be.AppendUint32(nil, mountProgram), mountVersion)
		args = be.AppendUint32(be.AppendUint32(args, unix.IPPROTO_TCP), 0)
		answer, err := call(c, bindProgram, 2, procGetPort, args)
		if err != nil {
			return 0, err
		}
		port, _, err := number(answer)
		return checkPort(uint64(port), err)
	}
	args := be.AppendUint32(be.AppendUint32(nil, mountProgram), mountVersion)
	for _, s := range []string{"tcp6", "", ""} { // network, address, owner
		args = text(args, s)
	}
	answer, err := call(c, bindProgram, 3, procGetAddr, args)
	if err != nil {
		return 0, err
	}
	address, _, err := opaque(answer, 256)
	if err != nil {
		return 0, err
	}
	return universalPort(string(address))
}

// universalPort returns the port of an address like ::.2.5 (RFC 5665): 2*256+5.
func universalPort(s string) (uint16, error) {
	f := strings.Split(s, ".")
	if len(f) < 3 {
		return checkPort(0, nil)
	}
	hi, err := strconv.ParseUint(f[len(f)-2], 10, 8)
	lo, err2 := strconv.ParseUint(f[len(f)-1], 10, 8)
	return checkPort(hi<<8|lo, errors.Join(err, err2))
}

func checkPort(port uint64, err error) (uint16, error) {
	if err == nil && (port == 0 || port > 65535) {
		err = errors.New("the server does not speak the MOUNT protocol")
	}
	return uint16(port), err
}

// connect connects from a port below 1024, as servers want by default (exports(5), secure),
// or else from any.
func connect(to netip.AddrPort, deadline time.Time) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	const first, tries = 600, 4 // services have few ports above
	var c net.Conn
	err := error(unix.EADDRINUSE)
	for range tries {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: first + rand.IntN(1024-first)}}
		if c, err = d.DialContext(ctx, "tcp", to.String()); !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			break
		}
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EADDRINUSE) {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", to.String())
	}
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

var be = binary.BigEndian

// maxReply bounds an answer in bytes.
const maxReply = 8 << 10

// call calls a procedure and returns its result (RFC 5531).
func call(c net.Conn, program, version, procedure uint32, args []byte) ([]byte, error) {
	xid := rand.Uint32()
	b := make([]byte, 4) // record mark, section 11
	for _, v := range []uint32{xid, 0 /* CALL */, 2 /* of RPC */, program, version, procedure} {
		b = be.AppendUint32(b, v)
	}
	b = append(b, credentials()...)
	b = be.AppendUint32(be.AppendUint32(b, uint32(None)), 0) // verifier
	b = append(b, args...)
	be.PutUint32(b, 1<<31|uint32(len(b)-4))
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	reply, err := record(c)
	if err != nil {
		return nil, err
	}
	return result(reply, xid)
}

// result returns the result in a reply to the call xid.
func result(reply []byte, xid uint32) (_ []byte, err error) {
	var v [4]uint32 // xid, REPLY, MSG_ACCEPTED, flavour of the verifier
	for i := range v {
		if v[i], reply, err = number(reply); err != nil {
			return nil, err
		}
	}
	if v[0] != xid || v[1] != 1 || v[2] != 0 {
		return nil, errors.New("the server refuses the call")
	}
	if _, reply, err = opaque(reply, 400); err != nil {
		return nil, err
	}
	status, reply, err := number(reply)
	if err == nil && status != 0 {
		err = fmt.Errorf("the server has no such service: status %d", status)
	}
	return reply, err
}

// credentials are those of root, AUTH_SYS.
func credentials() []byte {
	body := text(be.AppendUint32(nil, 0), "localhost") // stamp, name of the machine
	body = append(body, make([]byte, 12)...)           // UID, GID, no other groups
	b := be.AppendUint32(nil, uint32(Sys))
	return append(be.AppendUint32(b, uint32(len(body))), body...)
}

// record reads a message of one or more fragments.
func record(r io.Reader) (message []byte, err error) {
	for last := false; !last; {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, err
		}
		n := be.Uint32(mark[:])
		last = n>>31 == 1
		n &^= 1 << 31
		if uint64(len(message))+uint64(n) > maxReply || n == 0 && !last {
			return nil, fmt.Errorf("answer with a fragment of %d bytes", n)
		}
		fragment := make([]byte, n)
		if _, err := io.ReadFull(r, fragment); err != nil {
			return nil, err
		}
		message = append(message, fragment...)
	}
	return message, nil
}

// text appends a string of XDR (RFC 4506).
func text(b []byte, s string) []byte {
	b = append(be.AppendUint32(b, uint32(len(s))), s...)
	return append(b, make([]byte, -len(s)&3)...)
}

// number cuts an unsigned integer off.
func number(b []byte) (uint32, []byte, error) {
	if len(b) < 4 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return be.Uint32(b), b[4:], nil
}

// opaque cuts bytes of variable length off.
func opaque(b []byte, limit uint32) (value, rest []byte, err error) {
	n, b, err := number(b)
	if err != nil {
		return nil, nil, err
	}
	if n > limit || int(n)+int(-n&3) > len(b) {
		return nil, nil, fmt.Errorf("answer with a field of %d bytes", n)
	}
	return b[:n], b[n+(-n&3):], nil
}

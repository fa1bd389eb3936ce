package mountd

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// server is an NFS server with one port for rpcbind and mountd.
type server struct {
	answer   []byte // mountres3
	port     uint32 // that rpcbind names; 0 for none, 1 for the own one
	pieces   bool   // fragments of four bytes
	raw      []byte // in place of any reply
	unmounts chan string
}

// start returns the address at which s serves.
func (s *server) start(t *testing.T, host string) netip.Addr {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("no address %s: %v", host, err)
	}
	t.Cleanup(func() { l.Close() })
	at := l.Addr().(*net.TCPAddr).AddrPort()
	if s.port == 1 {
		s.port = uint32(at.Port())
	}
	old := bindPort
	bindPort = at.Port()
	t.Cleanup(func() { bindPort = old })
	s.unmounts = make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for s.serve(c) == nil {
				}
			}()
		}
	}()
	return at.Addr()
}

// serve answers one call.
func (s *server) serve(c net.Conn) error {
	b, err := record(c)
	if err != nil {
		return err
	}
	if s.raw != nil {
		c.Write(s.raw)
		return net.ErrClosed
	}
	xid, program, version, procedure := be.Uint32(b), be.Uint32(b[12:]), be.Uint32(b[16:]), be.Uint32(b[20:])
	_, rest, err := opaque(b[28:], 400) // after the flavour of the credentials
	if err != nil {
		return err
	}
	_, args, err := opaque(rest[4:], 400)
	if err != nil {
		return err
	}
	reply := be.AppendUint32(nil, xid)
	for _, v := range []uint32{1, 0, 0, 0, 0} { // REPLY, accepted, verifier, SUCCESS
		reply = be.AppendUint32(reply, v)
	}
	switch {
	case program == bindProgram && version == 2 && procedure == procGetPort:
		reply = be.AppendUint32(reply, s.port)
	case program == bindProgram && version == 3 && procedure == procGetAddr:
		address := ""
		if s.port != 0 {
			address = fmt.Sprintf("::1.%d.%d", s.port>>8, s.port&255)
		}
		reply = text(reply, address)
	case program == mountProgram && version == mountVersion && procedure == procMount:
		reply = append(reply, s.answer...)
	case program == mountProgram && procedure == procUmount:
		name, _, _ := opaque(args, 1024)
		s.unmounts <- string(name)
	default:
		be.PutUint32(reply[20:], 1) // PROG_UNAVAIL
	}
	size := len(reply)
	if s.pieces {
		size = 4
	}
	for len(reply) > 0 {
		n := min(size, len(reply))
		mark := uint32(n)
		if n == len(reply) {
			mark |= 1 << 31
		}
		c.Write(append(be.AppendUint32(nil, mark), reply[:n]...))
		reply = reply[n:]
	}
	return nil
}

// exported is the answer for an export with those flavours.
func exported(list ...Flavour) []byte {
	b := text(be.AppendUint32(nil, 0), "a file handle of 29 bytes....")
	b = be.AppendUint32(b, uint32(len(list)))
	for _, f := range list {
		b = be.AppendUint32(b, uint32(f))
	}
	return b
}

func TestAsk(t *testing.T) {
	many := make([]Flavour, maxFlavours+1)
	for _, tt := range []struct {
		name     string
		server   server
		want     string // flavours, and the Kerberos that is needed; or the error
		unmounts bool
	}{
		{"sys alone", server{answer: exported(Sys), port: 1}, "[sys] ", true},
		{"in pieces", server{answer: exported(Sys), port: 1, pieces: true}, "[sys] ", true},
		{"Kerberos alone", server{answer: exported(Krb5p, Krb5i, Krb5), port: 1}, "[krb5p krb5i krb5] krb5p", true},
		{"Kerberos or sys", server{answer: exported(Krb5, Sys), port: 1}, "[krb5 sys] ", true},
		{"Kerberos or anything", server{answer: exported(Krb5, None), port: 1}, "[krb5 none] ", true},
		{"unknown flavours", server{answer: exported(6, 390006), port: 1}, "[6 390006] ", true},
		{"no flavour", server{answer: exported(), port: 1}, "[] ", true},
		{"refused", server{answer: be.AppendUint32(nil, 13), port: 1}, "the server refuses to mount /srv: status 13", false},
		{"NFS 4 alone", server{}, "ask for the security of /srv: the server does not speak the MOUNT protocol", false},
		{"too many flavours", server{answer: exported(many...), port: 1}, "ask for the security of /srv: answer with 65 security flavours", false},
		{"end in the middle", server{answer: exported(Sys)[:40], port: 1}, "ask for the security of /srv: unexpected EOF", false},
		{"large handle", server{answer: text(be.AppendUint32(nil, 0), strings.Repeat("x", 65)), port: 1}, "ask for the security of /srv: answer with a field of 65 bytes", false},
		{"huge reply", server{raw: []byte{0xff, 0xff, 0xff, 0xff}}, "ask for the security of /srv: answer with a fragment of 2147483647 bytes", false},
		{"another reply", server{raw: append([]byte{0x80, 0, 0, 16}, make([]byte, 16)...)}, "ask for the security of /srv: the server refuses the call", false},
		{"no reply", server{raw: []byte{}}, "ask for the security of /srv: EOF", false},
	} {
		for _, host := range []string{"127.0.0.1", "::1"} {
			t.Run(tt.name+" at "+host, func(t *testing.T) {
				s := tt.server
				list, err := Ask([]netip.Addr{s.start(t, host)}, "/srv")
				got := fmt.Sprintf("%v %s", list, Kerberos(list))
				if err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				select {
				case name := <-s.unmounts:
					if !tt.unmounts || name != "/srv" {
						t.Errorf("unmounts %q", name)
					}
				default:
					if tt.unmounts {
						t.Error("the server still has the mount")
					}
				}
			})
		}
	}
	if _, err := Ask(nil, "/srv"); err == nil || err.Error() != "ask for the security of /srv: no address" {
		t.Errorf("no address: %v", err)
	}
}

func TestUniversalPort(t *testing.T) {
	for s, want := range map[string]string{
		"::.8.1": "2049 <nil>", "192.0.2.1.0.111": "111 <nil>", "": "0 the server does not speak the MOUNT protocol",
		"::.0.0": "0 the server does not speak the MOUNT protocol", "8.1": "0 the server does not speak the MOUNT protocol",
	} {
		if port, err := universalPort(s); fmt.Sprint(port, " ", err) != want {
			t.Errorf("%q: got %d, %v, want %s", s, port, err, want)
		}
	}
	for _, bad := range []string{"::.256.1", "::.x.y", "::.-1.1"} {
		if port, err := universalPort(bad); err == nil {
			t.Errorf("%q: port %d", bad, port)
		}
	}
}

// Any answer ends in flavours or an error.
func FuzzReply(f *testing.F) {
	whole := append(append(be.AppendUint32(nil, 7), 0, 0, 0, 1), make([]byte, 16)...)
	whole = append(whole, exported(Sys, Krb5)...)
	f.Add(append(be.AppendUint32(nil, 1<<31|uint32(len(whole))), whole...))
	f.Add([]byte{0x80, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		reply, err := record(bytes.NewReader(b))
		if err != nil {
			return
		}
		answer, err := result(reply, 7)
		if err != nil {
			return
		}
		if list, err := mounted(answer, "/srv"); err == nil && len(list) > maxFlavours {
			t.Errorf("%d flavours", len(list))
		}
		universalPort(string(answer))
	})
}

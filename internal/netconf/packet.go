package netconf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/rtnl"
)

var broadcastMAC = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// packet is a socket of packet(7) that cuts off and adds the header of Ethernet.
type packet struct {
	fd       int
	link     int
	protocol uint16 // big endian
	buf      []byte
}

// dhcpFilter passes unfragmented UDP to port 68 (Documentation/networking/filter.rst).
var dhcpFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 4},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 68, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// openPacket opens a socket for the packets of one EtherType on one link. filter may be
// nil.
func openPacket(link int, protocol uint16, filter []unix.SockFilter) (*packet, error) {
	// Protocol 0 receives nothing until the filter is there and the link is chosen.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	p := &packet{fd: fd, link: link, protocol: protocol<<8 | protocol>>8, buf: make([]byte, 4096)}
	if be.Uint16([]byte{1, 0}) == ne.Uint16([]byte{1, 0}) {
		p.protocol = protocol
	}
	if filter != nil {
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: p.protocol, Ifindex: link})
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("bind a packet socket: %w", err)
	}
	return p, nil
}

func (p *packet) close() { unix.Close(p.fd) }

// send sends a packet to a hardware address.
func (p *packet) send(to [6]byte, b []byte) error {
	sa := &unix.SockaddrLinklayer{Protocol: p.protocol, Ifindex: p.link, Halen: 6}
	copy(sa.Addr[:], to[:])
	for {
		err := unix.Sendto(p.fd, b, 0, sa)
		if err != unix.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// receive returns the next packet; its bytes are valid until the next call. The error is
// os.ErrDeadlineExceeded if none came in time.
func (p *packet) receive(end time.Time) ([]byte, error) {
	for {
		left := time.Until(end)
		if left <= 0 {
			return nil, os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		ms := min(left/time.Millisecond+1, 1000)
		if n, err := unix.Poll(fds, int(ms)); err != nil && err != unix.EINTR {
			return nil, os.NewSyscallError("poll", err)
		} else if n == 0 || err != nil {
			continue
		}
		n, _, err := unix.Recvfrom(p.fd, p.buf, 0)
		switch {
		case err == nil:
			return p.buf[:n], nil
		// A link that goes down for a moment is reported once.
		case err == unix.EAGAIN || err == unix.EINTR || err == unix.ENETDOWN:
			continue
		default:
			return nil, os.NewSyscallError("recvfrom", err)
		}
	}
}

// A probe is repeated, because the first packets of a link that has just come up may be
// lost. RFC 5227 waits longer; each dump would pay for that.
const (
	probes    = 3
	probeTime = 200 * time.Millisecond
)

// probe asks by ARP who has an address (RFC 5227), and warns if another machine answers.
// Nothing follows from it: a dump that may collide is better than none.
func (s *setup) probe(l rtnl.Link, a netip.Addr) {
	mac, err := rtnl.ParseMAC(l.Address)
	if err != nil {
		return
	}
	p, err := openPacket(l.Index, unix.ETH_P_ARP, nil)
	if err != nil {
		return // a kernel without packet sockets
	}
	defer p.close()
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, request
	b = append(append(b, mac...), 0, 0, 0, 0)
	b = append(append(b, 0, 0, 0, 0, 0, 0), a.AsSlice()...)
	for range probes {
		if p.send(broadcastMAC, b) != nil {
			return
		}
		for end := s.until(probeTime); ; {
			b, err := p.receive(end)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return
			}
			if owner := arpOwner(b, a); owner != "" && owner != l.Address {
				s.log("address %v is in use: %s answers on link %s", a, owner, l.Name)
				return
			}
		}
	}
}

// arpOwner returns the hardware address that a packet of ARP (RFC 826) claims the IPv4
// address for; "" if it does not.
func arpOwner(b []byte, a netip.Addr) string {
	if len(b) < 28 || [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} || netip.AddrFrom4([4]byte(b[14:18])) != a {
		return ""
	}
	return rtnl.FormatMAC(b[8:14])
}

// random returns a number that other machines hardly choose at the same time.
func random() uint32 {
	var b [4]byte
	if n, err := unix.Getrandom(b[:], unix.GRND_NONBLOCK); err != nil || n != len(b) {
		return uint32(time.Now().UnixNano())
	}
	return be.Uint32(b[:])
}

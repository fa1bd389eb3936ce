package remote

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// dialTest connects to a server of the test.
func dialTest(t *testing.T, serve func(net.Conn)) net.Conn {
	t.Helper()
	port := listen(t, serve)
	c, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLinkStall(t *testing.T) {
	l := newLink(dialTest(t, func(c net.Conn) { io.Copy(io.Discard, c) }), 50*time.Millisecond)
	defer l.Close()
	time.Sleep(200 * time.Millisecond) // nobody waits: this is no stall
	if _, err := l.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	done := l.wait()
	_, err := l.Read(make([]byte, 1))
	done()
	if err == nil || !strings.Contains(err.Error(), "nothing moved") {
		t.Errorf("got %v", err)
	}
}

// A server that takes bytes slowly out of a long queue is alive.
func TestLinkSlow(t *testing.T) {
	l := newLink(dialTest(t, func(c net.Conn) {
		c.(*net.TCPConn).SetReadBuffer(4 << 10)
		b := make([]byte, 4<<10)
		for range 30 {
			time.Sleep(20 * time.Millisecond)
			io.ReadFull(c, b)
		}
		io.WriteString(c, "x")
		io.Copy(io.Discard, c)
	}), time.Second)
	defer l.Close()
	defer l.wait()()
	if _, err := l.Write(make([]byte, 120<<10)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestLinkLimit(t *testing.T) {
	l := newLink(dialTest(t, func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}), time.Minute)
	defer l.Close()
	lift := l.limit(50*time.Millisecond, "the login")
	defer lift()
	for {
		if _, err := l.Read(make([]byte, 1)); err != nil {
			if !strings.Contains(err.Error(), "the login takes longer") {
				t.Errorf("got %v", err)
			}
			return
		}
	}
}

package remote

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// link is a connection that ends itself if no byte moves while an answer is awaited, and
// if a login takes too long.
type link struct {
	net.Conn
	stall time.Duration
	extra atomic.Int64 // nanoseconds beyond stall
	moved atomic.Int64 // bytes in both directions
	await atomic.Int32 // nested waits
	cause atomic.Pointer[error]
	done  chan struct{}
	once  sync.Once
}

func newLink(c net.Conn, stall time.Duration) *link {
	l := &link{Conn: c, stall: stall, done: make(chan struct{})}
	go l.watch()
	return l
}

// Read implements io.Reader.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.moved.Add(int64(n))
	return n, l.reason(err)
}

// Write implements io.Writer. It writes large blocks in parts, each of which counts.
func (l *link) Write(p []byte) (int, error) {
	const part = 32 << 10
	done := 0
	for {
		n, err := l.Conn.Write(p[done:min(len(p), done+part)])
		done += n
		l.moved.Add(int64(n))
		if err != nil || done == len(p) {
			return done, l.reason(err)
		}
	}
}

// wait begins a wait for the server. It returns the function that ends it.
func (l *link) wait() func() {
	l.await.Add(1)
	return func() { l.await.Add(-1) }
}

// waitFor is wait for an operation during which the server writes or copies a file of size
// bytes, and says nothing: it may do no more than 16 MiB each second.
func (l *link) waitFor(size int64) func() {
	l.extra.Store(size >> 24 * int64(time.Second))
	end := l.wait()
	return func() {
		end()
		l.extra.Store(0)
	}
}

// watch ends the connection if nothing moves.
func (l *link) watch() {
	tick := time.NewTicker(max(l.stall/16, time.Millisecond))
	defer tick.Stop()
	last, since := l.state(), time.Now()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		now := l.state()
		if now != last || l.await.Load() == 0 {
			last, since = now, time.Now()
			continue
		}
		if limit := l.stall + time.Duration(l.extra.Load()); time.Since(since) > limit {
			l.fail(fmt.Errorf("nothing moved for %d seconds: %w", int(limit/time.Second), syscall.ETIMEDOUT))
			return
		}
	}
}

// linkState changes when bytes move: to and from the kernel, and to the server.
type linkState struct {
	moved  int64
	queued int // bytes that the server has not acknowledged
}

// state includes the send queue of TCP (tcp(7), SIOCOUTQ): megabytes in it go to a slow
// server long after they were written.
func (l *link) state() linkState {
	s := linkState{moved: l.moved.Load()}
	sc, ok := l.Conn.(syscall.Conn)
	if !ok {
		return s
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return s
	}
	raw.Control(func(fd uintptr) {
		s.queued, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	return s
}

// limit ends the connection after a time. It returns the function that lifts the limit.
func (l *link) limit(d time.Duration, operation string) func() {
	t := time.AfterFunc(d, func() {
		l.fail(fmt.Errorf("%s takes longer than %d seconds: %w", operation, int(d/time.Second), syscall.ETIMEDOUT))
	})
	return func() { t.Stop() }
}

// fail ends the connection for a cause, which becomes the error of all that waits.
func (l *link) fail(cause error) {
	l.cause.CompareAndSwap(nil, &cause)
	l.Close()
}

// reason returns the cause of an error: that of fail, if the link has failed.
func (l *link) reason(err error) error {
	if cause := l.cause.Load(); err != nil && cause != nil {
		return *cause
	}
	return err
}

// Close implements io.Closer.
func (l *link) Close() error {
	var err error
	l.once.Do(func() {
		close(l.done)
		err = l.Conn.Close()
	})
	return err
}

package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/evidence"
)

// Roles of kdumpinit-net that need libraries. Each is a child, so that a library which
// hangs or dies costs one file, and no goroutine is in PID 1 or the worker.
const (
	RoleNetwork = "network" // sets the network up
	RoleNFS     = "nfs"     // mounts an export
	RoleSend    = "send"    // writes one file of a dump to a server
	RoleSeal    = "seal"    // encrypts a stream
)

// Exit statuses of these roles beside 0 and 1.
const (
	// ExitBroken is a connection that could not be made or broke: another try may work.
	ExitBroken = 3
	// ExitStream is a stream that was no whole dump: another collector may do better.
	ExitStream = 4
)

// Words that begin the lines which these roles print to standard output.
const (
	SayProgress = "progress" // bytes that the server or the disk has taken
	SayLog      = "log"      // a line for the kernel's log
	SayWarning  = "warning"  // a line for the report
	SayDir      = "dir"      // name of the directory of the dump
	SayCRC      = "crc"      // CRC-32C of the output of RoleSeal
	SayStreamed = "streamed" // SHA-256 of a stream that has passed and is a whole dump: CommitByte ends the file
)

// CommitByte on descriptor ControlFD makes RoleSend or RoleSeal end the file and give it its
// final name. If the descriptor is closed without, the collector failed.
const (
	CommitByte = 'c'
	ControlFD  = 3
)

// Extra is a role of kdumpinit-net with its main function, which gets the arguments
// behind the role and returns the exit status.
type Extra struct {
	Role string
	Run  func(args []string) int
}

// MainNet is Main for kdumpinit-net: with targets at servers and encryption.
func MainNet(extras ...Extra) int {
	remote = netFuncs()
	for _, x := range extras {
		roles = append(roles, role{name: x.Role, run: func(_ mode, args []string) int { return x.Run(args) }})
	}
	return Main()
}

// netFuncs returns what kdumpinit-net adds to the worker.
func netFuncs() *remoteFuncs {
	return &remoteFuncs{
		open:    (*worker).openServer,
		reopen:  (*worker).reopenServer,
		again:   (*worker).again,
		seal:    (*worker).sealPlace,
		stall:   (*worker).collectorStall,
		slow:    (*worker).tooSlow,
		receipt: (*worker).writeReceipt,
	}
}

// courier is a running child of one of the extra roles.
type courier struct {
	w       *worker
	p       *process
	out     *os.File // its standard output and error, not blocking
	buf     bytes.Buffer
	message outputTail // lines without a known word
	lines   int        // log lines and warnings so far
	control *os.File   // write end of ControlFD, nil after the commit

	moved    int64 // bytes by its own report
	dir      string
	crc      uint32
	sum      string // SHA-256 of the stream
	streamed bool
	last     time.Duration // uptime of its last sign of life
	stopped  error         // why it was killed
}

// errBroken marks an error after which another try may work.
var errBroken = errors.New("connection lost")

// errStream marks the error of a stream that was no whole dump.
var errStream = errors.New("the stream is no whole dump")

// maxSaid bounds the log lines and warnings of a child, and maxSaidLine the bytes of one.
const (
	maxSaid     = 50
	maxSaidLine = 1000
)

// startCourier starts a role. stdin becomes its standard input, nil for none. stdout, if
// not nil, becomes descriptor 4.
func (w *worker) startCourier(args []string, stdin, sink *os.File) (*courier, error) {
	r, wr, err := pipe()
	if err != nil {
		return nil, err
	}
	defer wr.Close()
	cr, cw, err := pipe()
	if err != nil {
		r.Close()
		return nil, err
	}
	defer cr.Close()
	// The child's read blocks.
	unix.SetNonblock(int(cr.Fd()), false)
	if stdin == nil {
		stdin = openNull()
		defer stdin.Close()
	}
	files := []*os.File{stdin, wr, wr, cr}
	if sink != nil {
		files = append(files, sink)
	}
	p, err := start(append([]string{self}, args...), childEnv, files)
	if err != nil {
		r.Close()
		cw.Close()
		return nil, err
	}
	setOOMScore(p.pid, 900)
	c := &courier{w: w, p: p, out: r, control: cw, last: uptime()}
	c.message.max = stderrTail
	return c, nil
}

// startFed starts a role and returns the write end of its standard input.
func (w *worker) startFed(args []string, sink *os.File) (c *courier, in *os.File, err error) {
	r, in, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	unix.SetNonblock(int(r.Fd()), false) // the child's read blocks
	if c, err = w.startCourier(args, r, sink); err != nil {
		in.Close()
		return nil, nil, err
	}
	return c, in, nil
}

// pump reads the messages of the child. It reports whether there were any, and whether
// the child has ended and nothing is left to read.
func (c *courier) pump() (news, ended bool) {
	gone := c.p.poll()
	n := readSome(c.out, &c.buf)
	for {
		line, ok := cutLine(&c.buf)
		if !ok {
			break
		}
		c.line(line)
	}
	if c.buf.Len() > stderrTail {
		c.buf.Reset() // no line of ours is that long
	}
	if n > 0 {
		c.last = uptime()
		c.w.super.progress()
	}
	return n > 0, gone && n == 0
}

func (c *courier) line(line string) {
	word, rest, _ := strings.Cut(line, " ")
	rest = evidence.Printable(rest[:min(len(rest), maxSaidLine)])
	switch word {
	case SayProgress:
		if n, err := strconv.ParseInt(rest, 10, 64); err == nil {
			c.moved = n
		}
	case SayCRC:
		if n, err := strconv.ParseUint(rest, 10, 32); err == nil {
			c.crc = uint32(n)
		}
	case SayLog, SayWarning:
		switch c.lines++; {
		case c.lines > maxSaid: // the report and the kernel's log are bounded
		case word == SayWarning:
			c.w.warn("%s", rest)
		default:
			c.w.log.printf("%s", rest)
		}
	case SayDir:
		c.dir = rest
	case SayStreamed:
		c.streamed, c.sum = true, rest
	default:
		c.message.Write([]byte(line + "\n"))
	}
}

// wait waits until done returns true or the child ends. stall is how long the child may
// be silent from now on.
func (c *courier) wait(stall time.Duration, done func() bool) error {
	c.last = uptime() // until now it may have had nothing to do
	for {
		news, ended := c.pump()
		if done != nil && done() {
			return nil
		}
		if ended {
			return c.err()
		}
		if uptime()-c.last > stall {
			return c.stop(fmt.Sprintf("no progress for %v", stall))
		}
		if !news {
			waitReadable(c.out, 100*time.Millisecond)
		}
	}
}

// err returns the error of a child that has ended.
func (c *courier) err() error {
	if c.stopped != nil || c.p.ok() {
		return c.stopped
	}
	text := strings.TrimSpace(c.message.String())
	first, _, _ := strings.Cut(text, "\n")
	last := text[strings.LastIndexByte(text, '\n')+1:]
	switch {
	case c.p.lost:
		return errors.New(c.p.how())
	case c.p.status.Signaled(): // no answer of the server
		return fmt.Errorf("%w: %s", errBroken, c.p.how())
	case last == "":
		last = c.p.how()
	}
	switch c.p.status.ExitStatus() {
	case ExitBroken:
		return fmt.Errorf("%w: %s", errBroken, last)
	case ExitStream:
		return fmt.Errorf("%w: %s", errStream, last)
	case 1:
		return errors.New(last)
	}
	return fmt.Errorf("%s: %s", c.p.how(), first) // the reason is at the top of a traceback
}

// stop kills the child and returns why.
func (c *courier) stop(why string) error {
	c.stopped = fmt.Errorf("%w: %s", errBroken, why)
	if !c.p.kill(5 * time.Second) {
		c.stopped = errors.New(why + ", and the process is stuck in the kernel")
	}
	return c.stopped
}

// commit tells the child that the collector has ended well.
func (c *courier) commit() error {
	if c.control == nil {
		return errors.New("committed twice")
	}
	_, err := c.control.Write([]byte{CommitByte})
	c.release()
	return err
}

// finish waits until the stream has passed as a whole, commits, and waits for the end.
// Only after nil is the file complete.
func (c *courier) finish(stall time.Duration) error {
	err := c.wait(stall, func() bool { return c.streamed })
	if err == nil && !c.streamed {
		err = errors.New("the child ended before the stream")
	}
	if err != nil {
		return err
	}
	err = c.commit()
	if err != nil && !errors.Is(err, unix.EPIPE) {
		return err
	}
	if werr := c.wait(stall, nil); werr != nil {
		return werr
	}
	return err
}

func (c *courier) release() {
	if c.control != nil {
		c.control.Close()
		c.control = nil
	}
}

// close ends the child: by itself, so that it can tell the server, or else by force.
func (c *courier) close() {
	c.release()
	c.wait(10*time.Second, nil)
	if !c.p.ended {
		c.p.kill(5 * time.Second)
	}
	c.out.Close()
}

// feed is the write end of the child's standard input. It never blocks for longer than
// the child may be silent.
type feed struct {
	c     *courier
	f     *os.File
	stall time.Duration
}

// Write implements io.Writer.
func (f *feed) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(int(f.f.Fd()), p[n:])
		if m > 0 {
			n += m
			f.c.last = uptime()
			continue
		}
		if err != unix.EAGAIN && err != unix.EINTR {
			return n, err
		}
		if _, ended := f.c.pump(); ended {
			return n, unix.EPIPE
		}
		if uptime()-f.c.last > f.stall {
			return n, f.c.stop(fmt.Sprintf("no progress for %v", f.stall))
		}
		fds := []unix.PollFd{{Fd: int32(f.f.Fd()), Events: unix.POLLOUT}}
		unix.Poll(fds, 100)
	}
	return n, nil
}

// runCourier runs a role whose standard input is written by write, nil for none, and
// returns it after its end, nil if it could not be started. sink is as in startCourier.
func (w *worker) runCourier(args []string, stall time.Duration, sink *os.File, write func(io.Writer) error) (*courier, error) {
	if write == nil {
		c, err := w.startCourier(args, nil, sink)
		if err != nil {
			return nil, err
		}
		defer c.out.Close()
		defer c.release()
		return c, c.wait(stall, nil)
	}
	c, in, err := w.startFed(args, sink)
	if err != nil {
		return nil, err
	}
	defer c.out.Close()
	unix.SetNonblock(int(in.Fd()), true)
	err = write(&feed{c: c, f: in, stall: stall})
	in.Close()
	if err == nil {
		err = c.commit()
	}
	// Without the commit the child has the beginning of the file.
	c.release()
	if cerr := c.wait(stall, nil); cerr != nil && (err == nil || errors.Is(err, unix.EPIPE)) {
		err = cerr
	}
	return c, err
}

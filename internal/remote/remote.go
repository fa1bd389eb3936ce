// Package remote writes the files of dumps to servers: by SFTP, by PUT over HTTPS, and to
// S3. A vmcore that is not whole never has the name of a whole one there.
//
// Each byte from a server is untrusted: answers have bounds, and every wait has a limit.
package remote

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/netplan"
)

// FlatSuffix follows the name of a vmcore at servers that keep the flattened format:
// makedumpfile -R, or kdumpctl import, makes a vmcore of it.
const FlatSuffix = ".flat"

const (
	dialLimit  = 20 * time.Second // for each address
	loginLimit = time.Minute      // for the handshakes of one connection
	// defaultStall is much longer than TCP takes to notice loss.
	defaultStall = 2 * time.Minute
	maxKeyFile   = 64 << 10 // bytes of a key or a token
	maxCAFile    = 4 << 20  // bytes; all of Mozilla's authorities are 220 KB
)

// Options changes how Open and the Store work. The zero value is usable.
type Options struct {
	// Dial connects to an address like 192.0.2.1:22; nil is net.DialTimeout.
	Dial dialer
	// Progress is called with the number of bytes of a Stream that the server has taken.
	Progress func(bytes int64)
	// Stall is the time after which a connection is dead if no byte moves, although the
	// server has to do something. 0 is 2 minutes. A slow connection is never dead.
	Stall time.Duration
	// Now is the clock; nil is time.Now. The clock of a capture kernel may be wrong, see
	// Built.
	Now func() time.Time
	// Built is when the image was built. Certificates are checked at the later of Built
	// and Now: a clock that has lost its time must not refuse a good certificate.
	Built time.Time
	// MaxPart bounds the memory for one part of an S3 upload, in bytes. 0 is 64 MiB, with
	// which an object has at most 490 GiB.
	MaxPart int64
}

// Result is a stream at the server.
type Result struct {
	Name string // that Commit gives it: vmcore, vmcore.flat, vmcore.age
	Size int64  // bytes at the server: of a vmcore without flattening by SFTP
}

// ProbeResult tells the rights on the target at the server.
type ProbeResult struct {
	Room    int64 // bytes that are free; -1 if the server does not tell
	Read    bool  // files can be read back
	Rename  bool  // a vmcore gets its name only when it is whole
	Sync    bool  // the server makes files durable when asked
	Remove  bool  // files can be removed; a key that may only write is the safer one
	Remarks []string
}

// Store is a logged-in connection to the server of one target. It is for one goroutine.
type Store interface {
	// Create makes the directory of a new dump of a machine and returns its path below
	// the target: MACHINE/TIME. machine is a name of netplan.MachineDir. By SFTP TIME is as
	// crashdir.Create makes it. Other servers need not tell whether a name is taken, so TIME
	// has a random number there.
	Create(machine string, t time.Time) (dir string, err error)
	// Put writes a small file durably and replaces an earlier one. HTTPS and S3 send a file
	// below 1 MiB again after a broken connection.
	Put(dir, name string, r io.Reader) error
	// Stream writes a file of any size under the name of an incomplete one. A stream
	// named crashdir.Vmcore is a flattened dump, of which SFTP makes a plain vmcore. An
	// error other than that of r says that the connection is broken.
	Stream(dir, name string, r io.Reader) (Result, error)
	// Commit checks the last stream as far as the server lets it be read and gives it its
	// name. Only a plain vmcore is compared with m, which may be nil. A vmcore at another
	// server must have passed a streamcheck.Checker before. progress may be nil.
	Commit(dir string, m *dumpfile.Memory, progress func()) error
	// Abort gives up the last stream, or that of an earlier Store. Parts at an S3 server
	// go, as nobody could read them; other servers keep the incomplete file.
	Abort(dir string) error
	// Probe writes, reads, renames and removes a small file.
	Probe() (ProbeResult, error)
	// Close ends the connection.
	Close() error
}

// Open connects to the first address of a server that answers, and logs in. files is the root of
// the image, which has the keys in netplan.Dir.
func Open(s *netplan.Server, files fs.FS, opt Options) (Store, error) {
	if opt.Dial == nil {
		opt.Dial = net.DialTimeout
	}
	if opt.Progress == nil {
		opt.Progress = func(int64) {}
	}
	if opt.Stall <= 0 {
		opt.Stall = defaultStall
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	t := &target{server: s, files: files, opt: opt}
	var store Store
	var err error
	switch s.Protocol {
	case netplan.ProtocolSFTP:
		store, err = openSFTP(t)
	case netplan.ProtocolHTTPS:
		store, err = openHTTPS(t)
	case netplan.ProtocolS3:
		store, err = openS3(t)
	default:
		err = fmt.Errorf("unknown protocol %q", s.Protocol)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Target, err)
	}
	return store, nil
}

// target is a server with the files to log in to it.
type target struct {
	server *netplan.Server
	files  fs.FS
	opt    Options
}

// dial connects to the first address that answers.
func (t *target) dial() (*link, error) {
	c, err := dialAny(t.opt.Dial, t.server.Addresses, t.server.Port)
	if err != nil {
		return nil, err
	}
	return newLink(c, t.opt.Stall), nil
}

// read reads a file of the image.
func (t *target) read(name string, limit int64) ([]byte, error) {
	f, err := t.files.Open(path.Join(netplan.Dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := crashdir.ReadAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// word returns the only word of a file of the image, such as a token.
func (t *target) word(name string) (string, error) {
	b, err := t.read(name, maxKeyFile)
	if err != nil {
		return "", err
	}
	f := strings.Fields(string(b))
	if len(f) != 1 {
		return "", fmt.Errorf("%s has %d words, not 1", name, len(f))
	}
	for _, c := range f[0] {
		if c < '!' || c > '~' {
			return "", fmt.Errorf("%s has characters that are not printable ASCII", name)
		}
	}
	return f[0], nil
}

// isUnreserved reports whether URLs and S3 need no escape for c: RFC 3986, section 2.3.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// randomDir returns the path of a dump that no other dump has.
func randomDir(machine string, t time.Time) string {
	return path.Join(machine, crashdir.Name(t)+"-x"+strconv.FormatUint(uint64(rand.Uint32()), 10))
}

// printable returns text of a server for a message: one line, at most 200 bytes.
func printable(s string) string {
	b := []byte(s[:min(len(s), 200)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return strings.TrimSpace(string(b))
}

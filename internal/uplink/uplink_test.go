package uplink

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"ukdump/internal/capture"
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/remote"
)

const target = "sftp://dump@nas/srv"

// core is a small ELF core: the headers, and two pages of memory with the log of a kernel
// before 5.10.
func core() []byte {
	const page, vaddr = 4096, 0xffff888000100000
	info := "PAGESIZE=4096\nOSRELEASE=6.1.0\n"
	for i, symbol := range []string{"log_buf", "log_buf_len", "log_first_idx", "log_next_idx"} {
		info += fmt.Sprintf("SYMBOL(%s)=%x\n", symbol, vaddr+8*uint64(i))
	}
	le := binary.LittleEndian
	note := le.AppendUint32(nil, uint32(len("VMCOREINFO\x00")))
	note = le.AppendUint32(note, uint32(len(info)))
	note = append(note, "\x00\x00\x00\x00VMCOREINFO\x00\x00"+info...)
	note = append(note, make([]byte, -len(note)&3)...)
	b := make([]byte, 3*page)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 4)
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 2)
	for i, p := range [][6]uint64{{4, 176, 0, 0, uint64(len(note)), uint64(len(note))}, {1, page, vaddr, 0x100000, 2 * page, 2 * page}} {
		h := b[64+56*i:]
		le.PutUint32(h, uint32(p[0]))
		for j, n := range p[1:] {
			le.PutUint64(h[8+8*j:], n)
		}
	}
	copy(b[176:], note)
	le.PutUint64(b[page:], vaddr+page)
	le.PutUint32(b[page+8:], page)
	copy(b[2*page:], "the kernel log")
	return b
}

// flattened is core as a collector writes it to a pipe.
func flattened() []byte {
	b := make([]byte, dumpfile.FlatHeaderSize)
	copy(b, "makedumpfile")
	binary.BigEndian.PutUint64(b[16:], 1)
	binary.BigEndian.PutUint64(b[24:], 1)
	c := core()
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(len(c)))
	b = append(b, c...)
	return append(b, bytes.Repeat([]byte{0xff}, dumpfile.FlatRecordSize)...)
}

// store is a server in memory. Its fields are errors of its methods.
type store struct {
	files                     map[string][]byte
	streamed                  []byte // nil if the request did not end
	result                    string
	aborted                   int
	open, put, stream, commit error
	atEnd                     bool // stops reading at the end mark, as SFTP
}

func (s *store) Create(machine string, _ time.Time) (string, error) { return machine + "/1", s.put }
func (s *store) Put(dir, name string, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err == nil {
		err = s.put
	}
	if err == nil {
		s.files[dir+"/"+name] = b
	}
	return err
}
func (s *store) Stream(_, name string, r io.Reader) (remote.Result, error) {
	s.result = name
	if s.stream != nil {
		return remote.Result{}, s.stream
	}
	if s.atEnd {
		r = io.LimitReader(r, int64(len(flattened())))
	}
	b, err := io.ReadAll(r)
	if err == nil {
		s.streamed = b
	}
	return remote.Result{Name: name, Size: int64(len(b))}, err
}
func (s *store) Commit(dir string, _ *dumpfile.Memory, _ func()) error {
	if s.commit == nil {
		s.files[dir+"/"+s.result] = s.streamed
	}
	return s.commit
}
func (s *store) Abort(string) error                 { s.aborted++; return nil }
func (s *store) Probe() (remote.ProbeResult, error) { return remote.ProbeResult{}, nil }
func (s *store) Close() error                       { return nil }

// role is the surroundings of one role.
type role struct {
	out  bytes.Buffer
	sink bytes.Buffer
	s    *store
	plan netplan.Plan
}

// newRole replaces the surroundings. in is the standard input, and committed says whether
// the worker commits.
func newRole(t *testing.T, in []byte, committed bool) *role {
	t.Helper()
	r := &role{s: &store{files: map[string][]byte{}}}
	r.plan.Servers = []netplan.Server{{
		Target: target, Protocol: netplan.ProtocolSFTP, Host: "nas", Port: 22, Path: "/srv", HostKeys: []string{"ssh-ed25519 AAAA"},
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Network:   netplan.Network{Links: []netplan.Link{{Kind: netplan.Ethernet, Name: "eth0", MAC: "52:54:00:12:34:56"}}, DHCP: true},
	}}
	file := filepath.Join(t.TempDir(), "vmcore")
	if err := os.WriteFile(file, core(), 0o600); err != nil {
		t.Fatal(err)
	}
	oldVmcore, oldRoot, oldIn, oldOut, oldControl, oldSink, oldStore := vmcorePath, root, stdin, stdout, control, sink, openStore
	t.Cleanup(func() {
		vmcorePath, root, stdin, stdout, control, sink, openStore = oldVmcore, oldRoot, oldIn, oldOut, oldControl, oldSink, oldStore
	})
	byteOfWorker := ""
	if committed {
		byteOfWorker = string(capture.CommitByte)
	}
	vmcorePath, stdin, stdout = file, bytes.NewReader(in), &r.out
	control = func() io.Reader { return strings.NewReader(byteOfWorker) }
	sink = func() io.Writer { return &r.sink }
	openStore = func(*netplan.Server, fs.FS, remote.Options) (remote.Store, error) {
		if r.s.open != nil {
			return nil, r.s.open
		}
		return r.s, nil
	}
	return r
}

// run runs a role with the plan as it is now.
func (r *role) run(t *testing.T, f func([]string) int, args ...string) int {
	t.Helper()
	p := plan.Plan{
		Version: plan.Version, Software: plan.Software, Kernel: plan.Kernel{Release: "6.1.0", Arch: "amd64"},
		Host:        plan.Host{Name: "web1", MachineID: "0123456789abcdef0123456789abcdef"},
		Targets:     []plan.Target{{Kind: plan.Server, Dir: target, Path: "/web1-01234567"}},
		Collectors:  []plan.Collector{{Name: "x", Argv: []string{"/x", plan.VmcoreArg, plan.OutputArg}, Stream: []string{"/x", plan.VmcoreArg}}},
		Deadlines:   plan.Deadlines{Total: 900, Module: 20, Device: 30, Mount: 120, Stall: 120, Finish: 120},
		FinalAction: plan.Reboot, FailureAction: plan.Reboot, Remote: &r.plan,
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	root = fstest.MapFS{plan.Path: {Data: b}, netplan.SeedFile: {Data: bytes.Repeat([]byte("s"), 64)}}
	return f(args)
}

// identity makes the plan encrypt.
func (r *role) encrypt(t *testing.T, report bool) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r.plan.Recipients, r.plan.EncryptReport = []string{id.Recipient().String()}, report
	return id
}

func decrypt(id age.Identity, b []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(b), id)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestStream(t *testing.T) {
	good := flattened()
	edited := func(f func(b []byte)) []byte { b := bytes.Clone(good); f(b); return b }
	reset := fmt.Errorf("write: %w", &net.OpError{Op: "write", Err: unix.ECONNRESET})
	for _, tt := range []struct {
		name    string
		in      []byte
		commit  bool
		change  func(s *store)
		status  int
		said    string
		aborted int
	}{
		{"good", good, true, func(*store) {}, 0, "streamed ", 0},
		{"SFTP", good, true, func(s *store) { s.atEnd = true }, 0, "streamed ", 0},
		{"the collector failed", good, false, func(*store) {}, 1, "the collector failed", 1},
		{"the collector failed, SFTP", good, false, func(s *store) { s.atEnd = true }, 1, "the collector failed", 1},
		{"cut", good[:len(good)-1], true, func(*store) {}, capture.ExitStream, "without an end mark", 1},
		{"nothing", nil, true, func(*store) {}, capture.ExitStream, "without an end mark", 1},
		{"garbage", []byte(strings.Repeat("x", 9000)), true, func(*store) {}, capture.ExitStream, "not a flattened dump", 1},
		{"more than a dump", append(bytes.Clone(good), 'x'), true, func(*store) {}, capture.ExitStream, "behind the end mark", 1},
		{"more than a dump, SFTP", append(bytes.Clone(good), 'x'), true, func(s *store) { s.atEnd = true }, capture.ExitStream, "behind the end mark", 1},
		{"another log", edited(func(b []byte) { copy(b[dumpfile.FlatHeaderSize+dumpfile.FlatRecordSize+2*4096:], "x") }), true, func(*store) {}, capture.ExitStream, "not a whole dump", 1},
		{"refused", good, true, func(s *store) { s.stream = errors.New("quota") }, 1, "quota", 1},
		{"full", good, true, func(s *store) { s.stream = fmt.Errorf("write: %w", unix.ENOSPC) }, 1, "no space left", 1},
		{"broken", good, true, func(s *store) { s.stream = reset }, capture.ExitBroken, "connection reset", 0},
		{"closed", good, true, func(s *store) { s.stream = fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF) }, capture.ExitBroken, "closed", 0},
		{"no rename", good, true, func(s *store) { s.commit = errors.New("permission denied") }, 1, "permission denied", 0},
		{"broken at the rename", good, true, func(s *store) { s.commit = reset }, capture.ExitBroken, "connection reset", 0},
	} {
		for _, encrypted := range []bool{false, true} {
			if encrypted && strings.HasSuffix(tt.name, "SFTP") {
				continue
			}
			t.Run(fmt.Sprintf("%s, encrypted %v", tt.name, encrypted), func(t *testing.T) {
				r := newRole(t, tt.in, tt.commit)
				tt.change(r.s)
				name, id := crashdir.Vmcore, (*age.X25519Identity)(nil)
				if encrypted {
					name, id = name+crashdir.Sealed, r.encrypt(t, true)
				}
				status := r.run(t, Send, target, "m/1", "stream")
				out := r.out.String()
				if status != tt.status || !strings.Contains(out, tt.said) || r.s.aborted != tt.aborted {
					t.Errorf("status %d, want %d, %d aborted, want %d:\n%s", status, tt.status, r.s.aborted, tt.aborted, out)
				}
				// The server may call complete what has ended: SFTP alone renames later.
				if r.s.streamed != nil && !r.s.atEnd && (!tt.commit || tt.status == capture.ExitStream) {
					t.Error("the stream ended")
				}
				got, ok := r.s.files["m/1/"+name]
				if ok != (tt.status == 0) || r.s.result != name {
					t.Errorf("complete %v, as %s", ok, r.s.result)
				}
				if encrypted && ok {
					var err error
					if got, err = decrypt(id, got); err != nil {
						t.Fatal(err)
					}
				}
				if ok && !bytes.Equal(got, tt.in) {
					t.Errorf("%d bytes at the server, want %d", len(got), len(tt.in))
				}
			})
		}
	}
}

// A stream after one that broke off gives up the remains.
func TestStreamAgain(t *testing.T) {
	r := newRole(t, flattened(), true)
	if status := r.run(t, Send, target, "m/1", "stream", "again"); status != 0 || r.s.aborted != 1 {
		t.Errorf("status %d, %d aborted", status, r.s.aborted)
	}
}

func TestPut(t *testing.T) {
	long := append(bytes.Repeat([]byte("a"), 3*maxFile), bytes.Repeat([]byte("b"), maxFile)...)
	for _, tt := range []struct {
		name      string
		file      string
		in        []byte
		committed bool
		secret    bool
		want      string // name of the file, "" for none
		size      int
	}{
		{"log", crashdir.Dmesg, []byte("log"), true, false, "vmcore-dmesg.txt", 3},
		{"log without its end", crashdir.Dmesg, []byte("lo"), false, false, "vmcore-dmesg.txt-incomplete", 2},
		{"report without its end", crashdir.ReportFile, []byte("{"), false, false, "", 0},
		{"log of the capture without its end", crashdir.CaptureLog, []byte("x"), false, false, "", 0},
		{"long log", crashdir.Dmesg, long, true, false, "vmcore-dmesg.txt", maxFile},
		{"secret log", crashdir.Dmesg, []byte("log"), true, true, "vmcore-dmesg.txt.age", 3},
		{"secret log without its end", crashdir.Dmesg, []byte("lo"), false, true, "vmcore-dmesg.txt.age-incomplete", 2},
		{"secret report", crashdir.ReportFile + crashdir.Sealed, []byte("{}"), true, true, "report.json.age", 2},
		{"public part of a secret report", crashdir.ReportFile, []byte("{}"), true, true, "report.json", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRole(t, tt.in, tt.committed)
			id := r.encrypt(t, tt.secret)
			status := r.run(t, Send, target, "m/1", "put", tt.file)
			if (status == 0) != (tt.want != "") || len(r.s.files) != min(1, len(tt.want)) {
				t.Fatalf("status %d, files %d: %s", status, len(r.s.files), r.out.String())
			}
			if tt.want == "" {
				return
			}
			got, ok := r.s.files["m/1/"+tt.want]
			var err error
			if tt.secret && tt.file != crashdir.ReportFile {
				got, err = decrypt(id, got)
			}
			if !ok || err != nil || len(got) != tt.size || !bytes.HasSuffix(tt.in, got) {
				t.Errorf("%v: %d bytes, %v", r.s.files, len(got), err)
			}
			if cut := strings.Contains(r.out.String(), "omitting"); cut != (tt.size < len(tt.in)) {
				t.Errorf("said %s", r.out.String())
			}
		})
	}
}

func TestSendErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		open   error
		args   []string
		status int
		said   string
	}{
		{"create", nil, []string{target, "", "create"}, 0, "dir web1-01234567/1"},
		{"ping", nil, []string{target, "m/1", "ping"}, 0, ""},
		{"too few arguments", nil, []string{target}, 2, ""},
		{"put without a name", nil, []string{target, "m/1", "put"}, 1, "unknown operation"},
		{"unknown operation", nil, []string{target, "m/1", "remove"}, 1, "unknown operation"},
		{"unknown target", nil, []string{"sftp://x/y", "", "ping"}, 1, "the plan has no server"},
		{"refused", &remote.HostKeyError{Got: "x"}, []string{target, "", "ping"}, 1, "host key"},
		{"broken", &net.OpError{Op: "dial", Err: unix.ECONNREFUSED}, []string{target, "", "ping"}, capture.ExitBroken, "refused"},
	} {
		r := newRole(t, nil, true)
		r.s.open = tt.open
		status := r.run(t, Send, tt.args...)
		if got := r.out.String(); status != tt.status || !strings.Contains(got, tt.said) || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: status %d, want %d: %q", tt.name, status, tt.status, got)
		}
	}
	r := newRole(t, nil, true)
	root = fstest.MapFS{plan.Path: {Data: []byte("{")}}
	if status := Send([]string{target, "", "ping"}); status != 1 {
		t.Errorf("a damaged plan: status %d, %q", status, r.out.String())
	}
}

func TestSeal(t *testing.T) {
	good := flattened()
	for _, tt := range []struct {
		name   string
		op     string
		in     []byte
		commit bool
		status int
		whole  bool // the age file
	}{
		{"stream", "stream", good, true, 0, true},
		{"the collector failed", "stream", good, false, 1, false},
		{"cut", "stream", good[:len(good)-1], true, capture.ExitStream, false},
		{"garbage", "stream", []byte("x"), true, capture.ExitStream, false},
		{"file", "file", []byte("log"), true, 0, true},
		{"beginning of a file", "file", []byte("lo"), false, 1, true},
		{"unknown operation", "x", nil, true, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRole(t, tt.in, tt.commit)
			id := r.encrypt(t, true)
			if status := r.run(t, Seal, tt.op); status != tt.status {
				t.Errorf("status %d, want %d: %s", status, tt.status, r.out.String())
			}
			got, err := decrypt(id, r.sink.Bytes())
			if (err == nil) != tt.whole || tt.whole && !bytes.Equal(got, tt.in) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if tt.op != "stream" || tt.status != 0 {
				return
			}
			for _, line := range []string{
				fmt.Sprintf("progress %d\n", r.sink.Len()),
				fmt.Sprintf("crc %d\n", crc32.Checksum(r.sink.Bytes(), castagnoli)),
			} {
				if !strings.Contains(r.out.String(), line) {
					t.Errorf("%q is missing in %s", line, r.out.String())
				}
			}
		})
	}
}

// A place that cannot be written to is the error.
func TestSealSink(t *testing.T) {
	r := newRole(t, flattened(), true)
	r.encrypt(t, false)
	sink = func() io.Writer { return badWriter{} }
	if status := r.run(t, Seal, "stream"); status != 1 || !strings.Contains(r.out.String(), "no space left") {
		t.Errorf("status %d: %s", status, r.out.String())
	}
}

type badWriter struct{}

func (badWriter) Write([]byte) (int, error) { return 0, unix.ENOSPC }

func TestBroken(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{io.EOF, true},
		{fmt.Errorf("x: %w", io.ErrUnexpectedEOF), true},
		{&net.OpError{Op: "dial", Err: unix.EHOSTUNREACH}, true},
		{errors.Join(&net.OpError{Op: "dial", Err: unix.ECONNREFUSED}, errors.New("x")), true},
		{fmt.Errorf("nothing moved: %w", unix.ETIMEDOUT), true},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false},
		{&fs.PathError{Op: "open", Path: "key", Err: unix.ENOENT}, false},
		{fmt.Errorf("write: %w", unix.ENOSPC), false},
		{fmt.Errorf("write: %w", unix.EDQUOT), false},
		{context.Canceled, false},
		{errors.New("quota"), false},
		{&remote.StatusError{Status: 507}, false},
	} {
		if got := broken(tt.err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}

// Text of a server cannot become a line of its own.
func TestSay(t *testing.T) {
	r := newRole(t, nil, true)
	say(capture.SayLog, "a\nstreamed 1")
	if got := run(nil, 0, func([]string) error { return errors.New("b\ncrc 1") }); got != 1 {
		t.Errorf("status %d", got)
	}
	if got, want := r.out.String(), "log a streamed 1\nb; crc 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A server that accepts connections is reached, and the errors of all addresses are named.
func TestReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	s := &netplan.Server{Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, Port: port}
	if err := remote.Reach(s.Addresses, s.Port); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := remote.Reach(s.Addresses, s.Port); err == nil || !broken(err) || strings.Count(err.Error(), "refused") != 2 {
		t.Errorf("error %v", err)
	}
}

// A part and Go's memory fit into little memory, and a part is large where there is much.
func TestPartOf(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct{ available, part, limit int64 }{ // MiB
		{0, 5, 13}, {16, 5, 13}, {26, 6, 14}, {64, 16, 32}, {128, 32, 64}, {1024, 64, 112}, {1 << 20, 64, 112},
	} {
		part, limit := partOf(tt.available * mib)
		if part/mib != tt.part || limit/mib != tt.limit {
			t.Errorf("%d MiB: a part of %d of %d MiB, want %d of %d", tt.available, part/mib, limit/mib, tt.part, tt.limit)
		}
	}
}

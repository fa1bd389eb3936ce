package rawdump

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/fsid"
)

// A capture from its beginning to its end on a file, with the worker replaced
// between any two steps, and back.
func TestCapture(t *testing.T) {
	name := filepath.Join(t.TempDir(), "device")
	before := newDisk(swapHead(4096)).now
	if err := os.WriteFile(name, before, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := Create(f, testSize, testHeader)
	if err != nil {
		t.Fatal(err)
	}
	resume := func() {
		t.Helper()
		if w, err = Resume(f, testSize, testHeader.ID); err != nil {
			t.Fatal(err)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := strings.Repeat("a line of the log\n", 40000)
	resume()
	check(w.WriteFile(crashdir.Dmesg, text2(log)))
	resume()
	check(w.WriteFile(crashdir.ReportFile, text2("first")))
	check(w.WriteFile(crashdir.ReportFile, text2("second")))
	resume()
	s, err := w.BeginStream()
	check(err)
	if s.Start < areaAt+int64(len(log)) || s.Limit != testSize || s.Length != 0 {
		t.Fatalf("stream at %+v", s)
	}
	flat := strings.Repeat("flattened dump", 50000)
	if _, err := f.WriteAt([]byte(flat), s.Start); err != nil { // stands for makedumpfile
		t.Fatal(err)
	}
	check(w.SaveLength(1 << 19))
	resume()
	if got := w.Stream(); got.Length != 1<<19 || got.Ended || got.Start != s.Start {
		t.Errorf("after SaveLength: %+v", got)
	}
	calls := 0
	check(w.EndStream(int64(len(flat)), true, func() { calls++ }))
	if calls < 3 {
		t.Errorf("progress was called %d times", calls)
	}
	resume()
	check(w.WriteFile(crashdir.ReportFile, text2("third")))
	check(w.WriteFile(crashdir.CaptureLog, text2("the capture kernel's log")))
	check(w.Finish())
	if _, err := Resume(f, testSize, testHeader.ID); !errors.Is(err, ErrFinished) {
		t.Errorf("Resume of a finished dump: %v", err)
	}

	id, err := fsid.Probe(f, testSize)
	if err != nil || id.Type != "ukdump_raw" || id.UUID != testHeader.ID {
		t.Errorf("fsid says %+v, %v", id, err)
	}
	d, err := Open(f, testSize)
	check(err)
	want := testHeader
	want.Size, want.Created, want.savedCRC = testSize, d.Header.Created, checksum(before[:headSize])
	if d.Header != want || !d.Finished || !d.Stream.Complete || !d.Stream.Ended {
		t.Errorf("got %+v %v %+v\nwant %+v", d.Header, d.Finished, d.Stream, want)
	}
	for name, text := range map[string]string{crashdir.Dmesg: log, crashdir.ReportFile: "third", crashdir.CaptureLog: "the capture kernel's log"} {
		if fileText(t, d, name) != text {
			t.Errorf("%s is not what was written", name)
		}
	}
	got, err := io.ReadAll(d.OpenStream())
	if err != nil || string(got) != flat {
		t.Errorf("the stream is not what was written: %v", err)
	}

	original, err := Restore(f, testSize)
	if err != nil || !original {
		t.Errorf("Restore: %v, %v", original, err)
	}
	after, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(after[:savedAt], before[:savedAt]) {
		t.Errorf("the first 64 KiB are not what they were: %v", err)
	}
	if _, err := Open(f, testSize); !errors.Is(err, ErrNone) {
		t.Errorf("Open after Restore: %v", err)
	}
	if id, err := fsid.Probe(f, testSize); err != nil || id.Type != "swap" || id.UUID != testHeader.Held.UUID {
		t.Errorf("after Restore fsid says %+v, %v", id, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	other := testHeader
	other.ID = "another-crash"
	for name, tt := range map[string]struct {
		prepare func(d *disk)
		held    fsid.ID
		size    int64
		want    string
	}{
		"another dump": {prepare: func(d *disk) { mustCreate(t, d) }, want: `dump "` + testHeader.ID + `" has not been collected`},
		"finished dump": {prepare: func(d *disk) {
			if err := mustCreate(t, d).Finish(); err != nil {
				t.Fatal(err)
			}
		}, want: `dump "` + testHeader.ID + `" has not been collected`},
		"damaged dump":  {prepare: func(d *disk) { mustCreate(t, d); d.now[hSize]++ }, want: `dump "` + testHeader.ID + `" has not been collected`},
		"hibernated":    {prepare: func(d *disk) { copy(d.now[4086:], "S1SUSPEND\x00") }, want: "the device holds a hibernated system"},
		"hibernated 64": {prepare: func(d *disk) { clear(d.now[:4096]); copy(d.now, swapHead(65536)); copy(d.now[65526:], "LINHIB0001") }, want: "the device holds a hibernated system"},
		"other content": {prepare: func(d *disk) { clear(d.now[:4096]); copy(d.now, "XFSB") }, want: "the device holds xfs, not swap " + testHeader.Held.UUID + " as when it was chosen"},
		"wiped":         {prepare: func(d *disk) { clear(d.now[:4096]) }, want: "the device holds nothing known, not swap " + testHeader.Held.UUID + " as when it was chosen"},
		"now swap":      {held: fsid.ID{Type: "ext4", UUID: "x"}, want: "the device holds swap " + testHeader.Held.UUID + ", not ext4 x as when it was chosen"},
		"small":         {size: MinSize - 512, want: "the device has 16776704 bytes, a dump needs at least 16777216"},
	} {
		d := newDisk(swapHead(4096))
		h := other
		if tt.prepare != nil {
			tt.prepare(d)
		}
		if tt.held.Type != "" {
			h.Held = tt.held
		}
		size := int64(testSize)
		if tt.size != 0 {
			size = tt.size
		}
		before := bytes.Clone(d.now)
		_, err := Create(d, size, h)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
		if !bytes.Equal(before, d.now) {
			t.Errorf("%s: something was written", name)
		}
	}
	for _, id := range []string{"", "../x", "a b", strings.Repeat("x", 49), "a\x00b"} {
		h := testHeader
		h.ID = id
		if _, err := Create(newDisk(swapHead(4096)), testSize, h); err == nil {
			t.Errorf("ID %q was taken", id)
		}
	}
}

// Some swap areas get a new UUID at every boot.
func TestCreateOnOtherSwap(t *testing.T) {
	d := newDisk(swapHead(4096))
	d.now[1036] = 0xff
	w := mustCreate(t, d)
	if got := w.Header().Held; got.Type != "swap" || got.UUID != "ff234567-89ab-cdef-0123-456789abcdef" {
		t.Errorf("the header says it held %+v", got)
	}
}

func TestResumeRefuses(t *testing.T) {
	d := newDisk(swapHead(4096))
	if _, err := Resume(d, testSize, testHeader.ID); !errors.Is(err, ErrNone) {
		t.Errorf("without a dump: %v", err)
	}
	mustCreate(t, d)
	var other *NotCollectedError
	if _, err := Resume(d, testSize, "other"); !errors.As(err, &other) || other.ID != testHeader.ID {
		t.Errorf("another dump: %v", err)
	}
}

// A swap area of any page size comes back to the byte and is none meanwhile.
func TestRestoreSwap(t *testing.T) {
	for _, page := range []int{4096, 16384, 65536} {
		d := newDisk(swapHead(page))
		before := bytes.Clone(d.now[:65536])
		mustCreate(t, d)
		// Required by mkswap, swapon and the kernel: the signature and version 1.
		if string(d.now[page-10:page]) == "SWAPSPACE2" && le.Uint32(d.now[1024:]) == 1 {
			t.Errorf("pages of %d: the kernel would swap to the dump", page)
		}
		if original, err := Restore(d, testSize); !original || err != nil || !bytes.Equal(before, d.now[:65536]) {
			t.Errorf("pages of %d: it did not come back: %v, %v", page, original, err)
		}
	}
}

func TestRestoreZeros(t *testing.T) {
	for name, f := range map[string]func(d *disk){
		"damaged copy":   func(d *disk) { mustCreate(t, d); d.now[savedAt+1024]++ },
		"damaged header": func(d *disk) { mustCreate(t, d); d.now[hSize]++ },
		"other content": func(d *disk) {
			clear(d.now[:4096])
			copy(d.now, "XFSB")
			h := testHeader
			h.Held = fsid.ID{Type: "xfs"}
			if _, err := Create(d, testSize, h); err != nil {
				t.Fatal(err)
			}
		},
		"unknown content": func(d *disk) {
			copy(d.now[4086:], "          ")
			h := testHeader
			h.Held = fsid.ID{}
			if _, err := Create(d, testSize, h); err != nil {
				t.Fatal(err)
			}
		},
	} {
		d := newDisk(swapHead(4096))
		f(d)
		if original, err := Restore(d, testSize); original || err != nil {
			t.Errorf("%s: got %v, %v", name, original, err)
		}
		if !bytes.Equal(d.now[:4096], make([]byte, 4096)) {
			t.Errorf("%s: something is left", name)
		}
	}
	d := newDisk(swapHead(4096))
	if _, err := Restore(d, testSize); !errors.Is(err, ErrNone) || !bytes.Equal(d.now, d.stable) {
		t.Errorf("without a dump: %v", err)
	}
}

func TestWriteFile(t *testing.T) {
	d := newDisk(swapHead(4096))
	w := mustCreate(t, d)
	boom := errors.New("boom")
	half := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { io.WriteString(w, s); return boom }
	}
	// The beginning of a log is kept until there is a whole one, and not after it.
	if err := w.WriteFile(crashdir.Dmesg, half("half a l")); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if dump := mustOpen(t, d); fileText(t, dump, crashdir.Dmesg) != "half a l" || !dump.Files[0].Partial || w.Has(crashdir.Dmesg) {
		t.Errorf("half a log: %+v", dump.Files)
	}
	if err := w.WriteFile(crashdir.Dmesg, text2("a log")); err != nil || !w.Has(crashdir.Dmesg) {
		t.Errorf("got %v", err)
	}
	w.WriteFile(crashdir.Dmesg, half("worse"))
	// Half a report is worth nothing.
	if err := w.WriteFile(crashdir.ReportFile, half("{")); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	// The last that fits counts.
	for range 3 {
		if err := w.WriteFile(crashdir.ReportFile, text2(strings.Repeat("r", FileLimit))); err != nil {
			t.Error(err)
		}
		if err := w.WriteFile(crashdir.ReportFile, text2(strings.Repeat("x", FileLimit+1))); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a report that is too long: %v", err)
		}
	}
	if err := w.WriteFile(crashdir.CaptureLog, text2(strings.Repeat("l", FileLimit+1))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a log that is too long: %v", err)
	}
	if err := w.WriteFile("../../etc/passwd", text2("x")); err == nil {
		t.Error("any name goes")
	}
	dump := mustOpen(t, d)
	if got := fileText(t, dump, crashdir.Dmesg); got != "a log" {
		t.Errorf("the log is %q", got)
	}
	if got := fileText(t, dump, crashdir.ReportFile); got != strings.Repeat("r", FileLimit) {
		t.Errorf("the report has %d bytes", len(got))
	}
	if got := fileText(t, dump, crashdir.CaptureLog); got != strings.Repeat("l", FileLimit) || !dump.Files[2].Partial {
		t.Errorf("the capture kernel's log has %d bytes", len(got))
	}
}

// A log that needs more than the device has is cut; behind a stream there may be
// room for it.
func TestDmesgAndStream(t *testing.T) {
	d := newDisk(swapHead(4096))
	w := mustCreate(t, d)
	s, err := w.BeginStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFile(crashdir.Dmesg, text2("log")); err == nil {
		t.Error("the log was written into a stream")
	}
	if err := w.WriteFile(crashdir.ReportFile, text2("report")); err != nil {
		t.Error(err)
	}
	copy(d.now[s.Start:], "stream")
	if err := w.EndStream(6, false, func() {}); err != nil {
		t.Fatal(err)
	}
	if err := w.SaveLength(7); err == nil {
		t.Error("SaveLength after EndStream")
	}
	if err := w.WriteFile(crashdir.Dmesg, text2("log")); err != nil {
		t.Fatal(err)
	}
	dump := mustOpen(t, d)
	if err := checkStream(dump); err != nil || dump.Stream.Complete {
		t.Errorf("%+v: %v", dump.Stream, err)
	}
	if got := fileText(t, dump, crashdir.Dmesg); got != "log" {
		t.Errorf("got %q", got)
	}
	// A second stream spares it.
	if s, err = w.BeginStream(); err != nil || s.Start <= areaAt || w.Stream().Length != 0 {
		t.Errorf("second stream at %+v, %v", s, err)
	}
	// All of the device and a bit.
	if err := w.EndStream(s.Limit-s.Start+1, true, func() {}); err != nil {
		t.Fatal(err)
	}
	if got := w.Stream(); got.Complete || got.Length != s.Limit-s.Start {
		t.Errorf("a stream that did not fit: %+v", got)
	}

	d = newDisk(swapHead(4096))
	w = mustCreate(t, d)
	long := strings.Repeat("0123456789abcde\n", testSize/16)
	if err := w.WriteFile(crashdir.Dmesg, text2(long)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a log that is too long: %v", err)
	}
	if _, err := w.BeginStream(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("BeginStream without room: %v", err)
	}
	if got := fileText(t, mustOpen(t, d), crashdir.Dmesg); got != long[:testSize-areaAt] {
		t.Errorf("the log has %d bytes", len(got))
	}
}

// Changed bytes are detected.
func TestDamage(t *testing.T) {
	d := newDisk(swapHead(4096))
	w := mustCreate(t, d)
	if err := w.WriteFile(crashdir.Dmesg, text2("a log")); err != nil {
		t.Fatal(err)
	}
	s, err := w.BeginStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.EndStream(100000, true, func() {}); err != nil {
		t.Fatal(err)
	}
	d.now[areaAt]++
	d.now[s.Start+99999]++
	dump := mustOpen(t, d)
	var damaged *DamagedError
	if err := dump.CopyFile(io.Discard, crashdir.Dmesg); !errors.As(err, &damaged) {
		t.Errorf("file: %v", err)
	}
	if err := checkStream(dump); !errors.As(err, &damaged) {
		t.Errorf("stream: %v", err)
	}
	if err := dump.CopyFile(io.Discard, crashdir.ReportFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	clear(d.now[stateAt : stateAt+2*stateSize])
	if _, err := Open(d, testSize); !errors.As(err, &damaged) {
		t.Errorf("without a state: %v", err)
	}
	if _, err := Open(d, testSize-1); !errors.As(err, &damaged) {
		t.Errorf("a smaller device: %v", err)
	}
}

// The dump of a later version is neither read nor touched.
func TestOtherVersion(t *testing.T) {
	d := newDisk(swapHead(4096))
	mustCreate(t, d)
	head := d.now[:sector]
	le.PutUint32(head[hVersion:], 2)
	clear(head[hCRC : hCRC+4])
	le.PutUint32(head[hCRC:], checksum(head))
	before := bytes.Clone(d.now)
	var v *VersionError
	if _, err := Open(d, testSize); !errors.As(err, &v) || v.Got != 2 {
		t.Errorf("Open: %v", err)
	}
	if _, err := Restore(d, testSize); !errors.As(err, &v) || !bytes.Equal(d.now, before) {
		t.Errorf("Restore: %v", err)
	}
}

// FuzzOpen gives the first bytes of a device, with the checksums put right, so
// that the fuzzer gets behind them.
func FuzzOpen(f *testing.F) {
	d := newDisk(swapHead(4096))
	w := mustCreate(f, d)
	w.WriteFile(crashdir.Dmesg, text2("log"))
	w.WriteFile(crashdir.ReportFile, text2("report"))
	w.BeginStream()
	w.EndStream(1000, true, func() {})
	f.Add(d.now[:sector], d.now[stateAt:stateAt+sector], d.now[stateAt+stateSize:stateAt+stateSize+sector], true)
	f.Add(d.now[:sector], []byte{}, d.now[stateAt+stateSize:stateAt+stateSize+sector], false)
	f.Fuzz(func(t *testing.T, head, a, b []byte, fix bool) {
		img := make([]byte, stateAt+2*stateSize)
		for _, p := range []struct {
			at, crc int
			data    []byte
		}{{0, hCRC, head}, {stateAt, sCRC, a}, {stateAt + stateSize, sCRC, b}} {
			s := img[p.at : p.at+sector]
			copy(s, p.data)
			if fix {
				clear(s[p.crc : p.crc+4])
				le.PutUint32(s[p.crc:], checksum(s))
			}
		}
		dev := sparseDisk(img)
		dump, err := Open(dev, testSize)
		if err != nil {
			return
		}
		for _, file := range dump.Files {
			dump.CopyFile(io.Discard, file.Name)
			if file.Size < 0 || file.Size > testSize {
				t.Errorf("%+v", file)
			}
		}
		s := dump.Stream
		if s.Length < 0 || s.Start+s.Length > testSize || s.Length > 0 && s.Start < areaAt {
			t.Errorf("stream %+v", s)
		}
		checkStream(dump)
	})
}

// sparseDisk is a device with zeros behind its first bytes.
type sparseDisk []byte

func (s sparseDisk) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s)) {
		copy(p, s[off:])
	}
	if off+int64(len(p)) > testSize {
		return max(0, int(testSize-off)), io.EOF
	}
	return len(p), nil
}

package capture

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ukdump/internal/dumpfile"
	"ukdump/internal/makedumpfile"
)

// memory is a vmcore of pages, some of which are zero or cannot be read.
type memory struct {
	data   []byte
	broken int64 // offset of a page that cannot be read, -1 for none
}

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if m.broken >= 0 && off < m.broken+copyPage && off+int64(len(p)) > m.broken {
		return 0, syscall.EIO
	}
	return bytes.NewReader(m.data).ReadAt(p, off)
}

// core is larger than one buffer, and ends with zeros.
func core() []byte {
	b := make([]byte, 2*copyBuffer+5*copyPage+100)
	copy(b, elfCore())
	for _, page := range []int{40, 64, 65, 100, 130} {
		copy(b[page*copyPage:], bytes.Repeat([]byte{byte(page)}, copyPage))
	}
	return b
}

func newCopier(data []byte, limit int64) *copier {
	return &copier{in: memory{data, -1}, size: int64(len(data)), left: limit, say: io.Discard}
}

func TestCopyFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "vmcore")
	if err := newCopier(core(), 1<<30).file(name); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, core()) {
		t.Fatalf("the copy differs: %d bytes, %v", len(got), err)
	}
	if _, err := dumpfile.VerifyFile(name); err != nil {
		t.Error(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(name, &st); err != nil || st.Blocks*512 >= int64(len(got)) {
		t.Errorf("%d bytes on disk of %d: no holes", st.Blocks*512, len(got))
	}
}

// A copy that was stopped goes on, and writes only the rest.
func TestCopyResumes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "vmcore")
	err := newCopier(core(), 6*copyPage).file(name)
	if err == nil || !strings.Contains(err.Error(), "no room") {
		t.Fatalf("got %v", err)
	}
	if _, err := dumpfile.VerifyFile(name); err == nil {
		t.Log("part of it looks whole: the file's name says that it is not")
	}
	if err := newCopier(core(), 4*copyPage).file(name); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); !bytes.Equal(got, core()) {
		t.Error("the copy differs")
	}
	// Something else under that name is no beginning.
	os.WriteFile(name, bytes.Repeat([]byte{1}, 3*copyPage), 0o600)
	if err := newCopier(core(), 1<<30).file(name); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); !bytes.Equal(got, core()) {
		t.Error("the copy differs")
	}
}

// Memory that cannot be read costs its page.
func TestCopyBrokenPage(t *testing.T) {
	var say strings.Builder
	c := newCopier(core(), 1<<30)
	c.in, c.say = memory{core(), 40 * copyPage}, &say
	name := filepath.Join(t.TempDir(), "vmcore")
	if err := c.file(name); err != nil {
		t.Fatal(err)
	}
	want := core()
	clear(want[40*copyPage : 41*copyPage])
	if got, _ := os.ReadFile(name); !bytes.Equal(got, want) {
		t.Error("more than the page is missing")
	}
	if !strings.Contains(say.String(), "1 pages could not be read") {
		t.Errorf("it says %q", say.String())
	}
}

func TestCopyStream(t *testing.T) {
	var b bytes.Buffer
	if err := newCopier(core(), 1<<30).stream(&b); err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(b.Bytes())
	h, err := dumpfile.ReadHeader(r)
	if err != nil || h.Format != dumpfile.Flattened {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := h.Verify(r, r.Size()); err != nil {
		t.Error(err)
	}
	if b.Len() >= len(core()) {
		t.Errorf("%d bytes: zeros were written", b.Len())
	}
	if err := newCopier(core(), 2*copyPage).stream(&b); err == nil {
		t.Error("no limit")
	}
}

// The supervisor and the console read the progress.
func TestCopyProgress(t *testing.T) {
	var say strings.Builder
	c := newCopier(core(), 1<<30)
	c.say = &say
	if err := c.stream(io.Discard); err != nil {
		t.Fatal(err)
	}
	var p makedumpfile.Progress
	if !p.Update([]byte(say.String())) || p.Percent != 100 || p.Phase != "Copying data" {
		t.Errorf("%q is read as %+v", say.String(), p)
	}
}

type fullWriter struct{}

func (fullWriter) Write(p []byte) (int, error) { return 0, syscall.ENOSPC }

func TestCopyWriteError(t *testing.T) {
	if err := newCopier(core(), 1<<30).stream(fullWriter{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

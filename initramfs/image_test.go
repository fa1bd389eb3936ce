package initramfs

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ucpio "github.com/u-root/u-root/pkg/cpio"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is an image with every kind of entry, added in no good order.
func sample(t testing.TB) *Image {
	t.Helper()
	im := new(Image)
	for _, err := range []error{
		im.AddFile("/usr/bin/makedumpfile", bytes.Repeat([]byte("collector\n"), 1000), 0o755),
		im.AddFile("dev/null", nil, 0o600),
		im.AddSymlink("lib64", "usr/lib64"),
		im.AddDir("tmp", 0o700),
		im.AddFile("init", []byte("#!\n\x00"), 0o755),
		im.AddFile("usr/lib64//libc.so.6", []byte("odd"), 0o644),
		im.AddDir("usr", 0o750),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return im
}

func pack(t testing.TB, im *Image, c Compression) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := im.Write(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func listing(list []Entry) string {
	var b strings.Builder
	for _, e := range list {
		fmt.Fprintf(&b, "%v %8d %s", e.Mode, e.Size, e.Path)
		if e.Link != "" {
			fmt.Fprintf(&b, " -> %s", e.Link)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", name, got, want)
	}
}

func TestGolden(t *testing.T) {
	im := sample(t)
	golden(t, "sample.listing", []byte(listing(im.Entries())))
	golden(t, "sample.cpio", pack(t, im, None))
}

func TestReadBackWithAnotherReader(t *testing.T) {
	im := sample(t)
	records, err := ucpio.ReadAllRecords(ucpio.Newc.Reader(bytes.NewReader(pack(t, im, None))))
	if err != nil {
		t.Fatal(err)
	}
	entries := im.Entries()
	if len(records) != len(entries) {
		t.Fatalf("%d records, want %d", len(records), len(entries))
	}
	for i, r := range records {
		e := entries[i]
		if r.Name != e.Path || r.MTime != 0 || r.UID != 0 || r.GID != 0 || r.Ino != uint64(i+1) {
			t.Errorf("record %d is %+v, want %+v", i, r.Info, e)
		}
		content := make([]byte, r.FileSize)
		if _, err := r.ReadAt(content, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if want := im.nodes[e.Path].data; !bytes.Equal(content, want) {
			t.Errorf("%s: content %q, want %q", r.Name, content, want)
		}
		if got := fileMode(uint32(r.Mode)); got != e.Mode {
			t.Errorf("%s: mode %v, want %v", r.Name, got, e.Mode)
		}
	}
}

func TestReproducible(t *testing.T) {
	host := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(host, []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	a, b := new(Image), new(Image)
	for i := range 50 {
		if err := a.AddFile(fmt.Sprintf("d%d/f%d", i%7, i), []byte{byte(i)}, 0o644); err != nil {
			t.Fatal(err)
		}
		j := 49 - i
		if err := b.AddFile(fmt.Sprintf("/d%d/./f%d", j%7, j), []byte{byte(j)}, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, im := range []*Image{a, b} {
		if err := im.AddFileFrom("from/host", host, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		if !bytes.Equal(pack(t, a, c), pack(t, b, c)) {
			t.Errorf("%s: the order of adding changed the image", c)
		}
	}
}

func TestAddErrors(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		add  func(im *Image) error
		want string
	}{
		{"same file", func(im *Image) error { return im.AddFile("init", []byte("#!\n\x00"), 0o755) }, ""},
		{"same directory", func(im *Image) error { return im.AddDir("usr/lib64", 0o755) }, ""},
		{"same link", func(im *Image) error { return im.AddSymlink("lib64", "usr/lib64") }, ""},
		{"other content", func(im *Image) error { return im.AddFile("init", nil, 0o755) },
			"add file init: already in the image with other content"},
		{"other mode", func(im *Image) error { return im.AddFile("init", []byte("#!\n\x00"), 0o700) },
			"add file init: already in the image with mode -rwxr-xr-x"},
		{"other directory mode", func(im *Image) error { return im.AddDir("tmp", 0o755) },
			"add directory tmp: already in the image with mode drwx------"},
		{"other type", func(im *Image) error { return im.AddDir("init", 0o755) },
			"add directory init: already in the image with another type"},
		{"below a file", func(im *Image) error { return im.AddFile("init/new/x", nil, 0o644) },
			"add file init/new/x: init is already in the image and is not a directory"},
		{"below a link", func(im *Image) error { return im.AddFile("lib64/x", nil, 0o644) },
			"add file lib64/x: lib64 is already in the image and is not a directory"},
		{"dot dot", func(im *Image) error { return im.AddFile("a/../../b", nil, 0o644) },
			`add file a/../../b: the path contains ".."`},
		{"empty", func(im *Image) error { return im.AddFile("//", nil, 0o644) }, "add file //: the path is empty"},
		{"NUL", func(im *Image) error { return im.AddFile("a\x00b", nil, 0o644) }, "add file a\x00b: the path contains a NUL byte"},
		{"trailer", func(im *Image) error { return im.AddFile("TRAILER!!!", nil, 0o644) },
			"add file TRAILER!!!: the name is reserved for the end of the archive"},
		{"longest path", func(im *Image) error { return im.AddFile(strings.Repeat("a", 4095), nil, 0o644) }, ""},
		{"long path", func(im *Image) error { return im.AddFile(strings.Repeat("a", 4096), nil, 0o644) },
			"add file " + strings.Repeat("a", 4096) + ": the path has 4096 bytes, the kernel takes 4095"},
		{"setuid", func(im *Image) error { return im.AddFile("su", nil, 0o755|fs.ModeSetuid) },
			"add file su: mode urwxr-xr-x has more than permission bits"},
		{"empty target", func(im *Image) error { return im.AddSymlink("l", "") }, "add symbolic link l: the target is empty"},
		{"long target", func(im *Image) error { return im.AddSymlink("l", strings.Repeat("x", 4096)) },
			"add symbolic link l: the target has 4096 bytes, the kernel takes 4095"},
		{"from nothing", func(im *Image) error { return im.AddFileFrom("x", filepath.Join(dir, "none"), 0o644) },
			"add file x: open " + dir + "/none: no such file or directory"},
		{"from a directory", func(im *Image) error { return im.AddFileFrom("x", dir, 0o644) },
			"add file x: open " + dir + ": not a regular file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			im := sample(t)
			before := listing(im.Entries())
			err := tt.add(im)
			if fmt.Sprint(err) != tt.want && !(err == nil && tt.want == "") {
				t.Errorf("got  %v\nwant %v", err, tt.want)
			}
			if err != nil && listing(im.Entries()) != before {
				t.Error("the failed addition changed the image")
			}
		})
	}
}

func TestFileTooLarge(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 1<<32); err != nil { // sparse
		t.Skip(err)
	}
	err := new(Image).AddFileFrom("big", big, 0o644)
	if err == nil || !strings.Contains(err.Error(), "has 4294967296 bytes, the newc format takes 4294967295") {
		t.Errorf("got %v", err)
	}
}

func TestWriteErrors(t *testing.T) {
	im := sample(t)
	for _, window := range []int{1000, 512, 256 << 20, -4096, 3 << 17} {
		im.Window = window
		if err := im.Write(io.Discard, Zstd); err == nil {
			t.Errorf("window %d was accepted", window)
		}
	}
	im.Window = 0
	if err := im.Write(io.Discard, "lz4"); err == nil {
		t.Error("lz4 was accepted")
	}
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		for _, room := range []int{0, 1, 100} {
			if err := im.Write(&fullWriter{room}, c); err == nil || !strings.Contains(err.Error(), "no space") {
				t.Errorf("%s with room for %d bytes: got %v", c, room, err)
			}
		}
	}
}

type fullWriter struct{ room int }

func (w *fullWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		n := w.room
		w.room = 0
		return n, fmt.Errorf("no space")
	}
	w.room -= len(p)
	return len(p), nil
}

func TestParseCompression(t *testing.T) {
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		if got, err := ParseCompression(string(c)); got != c || err != nil {
			t.Errorf("%s: got %s, %v", c, got, err)
		}
	}
	if _, err := ParseCompression("lz4"); err == nil {
		t.Error("lz4 was accepted")
	}
}

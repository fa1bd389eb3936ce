package initramfs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func TestRoundTrip(t *testing.T) {
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		for _, window := range []int{0, 1 << 10, 1 << 20} {
			im := sample(t)
			im.Window = window
			packed := pack(t, im, c)
			list, err := Open(iotest.HalfReader(bytes.NewReader(packed))).List()
			if err != nil {
				t.Fatalf("%s: %v", c, err)
			}
			if got, want := listing(list), listing(im.Entries()); got != want {
				t.Errorf("%s: got\n%s\nwant\n%s", c, got, want)
			}
			data, err := Open(bytes.NewReader(packed)).ReadFile("/usr/bin/makedumpfile", 1<<20)
			if err != nil || !bytes.Equal(data, bytes.Repeat([]byte("collector\n"), 1000)) {
				t.Errorf("%s: ReadFile: %d bytes, %v", c, len(data), err)
			}
		}
	}
}

// one returns an image of a single file.
func one(t testing.TB, name, content string) *Image {
	t.Helper()
	im := new(Image)
	if err := im.AddFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return im
}

func TestSegments(t *testing.T) {
	early := pack(t, one(t, "kernel/x86/microcode/GenuineIntel.bin", "microcode"), None)
	pad := make([]byte, 512-len(early)%512)
	late := one(t, "init", "late")
	zeros := make([]byte, 100)
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		img := bytes.Join([][]byte{early, pad, pack(t, late, c), zeros, pack(t, one(t, "init", "last"), Gzip), zeros}, nil)
		if got, err := Open(bytes.NewReader(img)).ReadFile("init", 100); string(got) != "last" || err != nil {
			t.Errorf("%s: got %q, %v", c, got, err)
		}
		list, err := Open(bytes.NewReader(img)).List()
		if err != nil || len(list) != 6 {
			t.Errorf("%s: got\n%s%v", c, listing(list), err)
		}
	}
	// Two archives inside one compressed part.
	plain := append(bytes.Clone(early), pack(t, late, None)...)
	if got, err := Open(gzipped(t, plain)).ReadFile("init", 100); string(got) != "late" || err != nil {
		t.Errorf("two archives in one: got %q, %v", got, err)
	}
}

func gzipped(t testing.TB, b []byte) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// Images made by other programs have other block sizes, checks and frames.
func TestForeignStreams(t *testing.T) {
	im := sample(t)
	plain := pack(t, im, None)
	want := listing(im.Entries())
	writers := map[string]func(w io.Writer) (io.WriteCloser, error){
		"zstd without checksum": func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderCRC(false))
		},
		"zstd single segment": func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithSingleSegment(true))
		},
		"xz crc64": func(w io.Writer) (io.WriteCloser, error) {
			return xz.WriterConfig{CheckSum: xz.CRC64}.NewWriter(w)
		},
		"xz without check": func(w io.Writer) (io.WriteCloser, error) {
			return xz.WriterConfig{NoCheckSum: true}.NewWriter(w)
		},
		"xz in blocks": func(w io.Writer) (io.WriteCloser, error) {
			return xz.WriterConfig{CheckSum: xz.CRC32, BlockSize: 999}.NewWriter(w)
		},
	}
	for name, newWriter := range writers {
		var b bytes.Buffer
		w, err := newWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		list, err := Open(&b).List()
		if err != nil || listing(list) != want {
			t.Errorf("%s: got\n%s%v", name, listing(list), err)
		}
	}
}

func TestNotAnInitramfs(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"empty", "", "not an initramfs: the file is empty"},
		{"zeros", strings.Repeat("\x00", 10000), "not an initramfs: nothing but zero bytes"},
		{"text", "KERNEL=\n", "not an initramfs: neither a newc cpio archive nor compressed: it begins with 4b 45 52 4e 45 4c"},
		{"one byte", "x", "not an initramfs: neither a newc cpio archive nor compressed: it begins with 78"},
		{"kernel", "MZ\xea\x07\x00\xc0", "not an initramfs: an EFI program, perhaps a kernel"},
		{"ELF", "\x7fELF\x02\x01", "not an initramfs: an ELF file"},
		{"lz4", "\x02\x21\x4c\x18..", "not an initramfs: compressed with lz4, which this program does not read"},
		{"odc", "070707000000", "not an initramfs: a cpio archive of the old portable format, the kernel reads only newc"},
		{"short magic", "07070", "not an initramfs: a truncated or unknown cpio archive"},
		{"gzip of something", gzipped(t, []byte("hello, world")).String(), "not an initramfs: gzip data that holds no newc cpio archive"},
	} {
		_, err := Open(strings.NewReader(tt.data)).List()
		var format *FormatError
		if fmt.Sprint(err) != tt.want || !errors.As(err, &format) {
			t.Errorf("%s:\ngot  %v\nwant %v", tt.name, err, tt.want)
		}
	}
}

func TestCorrupt(t *testing.T) {
	good := string(pack(t, one(t, "init", "content"), None))
	field := func(i int, value string) string { return good[:6+8*i] + value + good[14+8*i:] }
	for _, tt := range []struct{ name, data, want string }{
		{"truncated header", good[:50], "corrupt initramfs: offset 50: the image ends too early"},
		{"truncated name", good[:112], "corrupt initramfs: offset 112: the image ends too early"},
		{"truncated content", good[:120], "corrupt initramfs: offset 120: the image ends too early"},
		{"no trailer", good[:124], "corrupt initramfs: offset 124: the image ends too early"},
		{"junk at the end", good + "junk", "corrupt initramfs: offset 248: neither a newc cpio archive nor compressed: it begins with 6a 75 6e 6b"},
		{"unaligned", good + "\x00" + good, "corrupt initramfs: offset 249: the cpio archive does not begin at a multiple of 4 bytes"},
		{"not hexadecimal", field(6, "-0000001"), "corrupt initramfs: offset 0: header field 7 is not a hexadecimal number"},
		{"name of no bytes", field(11, "00000001"), "corrupt initramfs: offset 0: file name of 0 bytes, not 1 to 4095"},
		{"long name", field(11, "FFFFFFFF"), "corrupt initramfs: offset 0: file name of 4294967294 bytes, not 1 to 4095"},
		{"name without end", field(11, "00000004"), "corrupt initramfs: offset 0: file name is not terminated by its only NUL byte"},
		{"content too long", field(6, "FFFFFFFF"), "corrupt initramfs: offset 248: the image ends too early"},
		{"content too short", field(6, "00000001"), "corrupt initramfs: offset 120: no cpio header where one should begin"},
		{"long link", field(1, "0000A1FF")[:54] + "00001000" + good[62:], "corrupt initramfs: offset 0: link target of 4096 bytes, not 1 to 4095"},
	} {
		_, err := Open(strings.NewReader(tt.data)).List()
		var corrupt *CorruptError
		if fmt.Sprint(err) != tt.want || !errors.As(err, &corrupt) {
			t.Errorf("%s:\ngot  %v\nwant %v", tt.name, err, tt.want)
		}
	}
}

// Every truncation of a compressed image is noticed, and every flipped bit that
// the checksum covers.
func TestCorruptCompressed(t *testing.T) {
	want := listing(sample(t).Entries())
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		packed := pack(t, sample(t), c)
		for n := 1; n < len(packed); n++ {
			if list, err := Open(bytes.NewReader(packed[:n])).List(); err == nil {
				t.Errorf("%s: cut to %d of %d bytes: listed %d", c, n, len(packed), len(list))
			}
		}
		for i := range packed {
			bad := bytes.Clone(packed)
			bad[i] ^= 0x10
			list, err := Open(bytes.NewReader(bad)).List()
			if err == nil && listing(list) != want {
				t.Errorf("%s: byte %d changed: another listing and no error", c, i)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	bomb := new(Image)
	if err := bomb.AddFile("zeros", make([]byte, 8<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		packed := pack(t, bomb, c)
		r := Open(bytes.NewReader(packed))
		r.MaxUnpacked = 1 << 20
		if _, err := r.List(); err == nil || err.Error() != "the image unpacks to more than 1048576 bytes" {
			t.Errorf("%s: List: got %v", c, err)
		}
		r = Open(bytes.NewReader(packed))
		r.MaxUnpacked = 1 << 20
		if _, err := r.ReadFile("zeros", 100<<20); err == nil || err.Error() != "the image unpacks to more than 1048576 bytes" {
			t.Errorf("%s: ReadFile: got %v", c, err)
		}
		if _, err := Open(bytes.NewReader(packed)).ReadFile("zeros", 1000); err == nil || err.Error() != "zeros has 8388608 bytes, the limit is 1000" {
			t.Errorf("%s: got %v", c, err)
		}
	}
	// A frame that asks for a window of 2 GiB.
	huge := "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"
	if _, err := Open(strings.NewReader(huge)).List(); err == nil || !strings.Contains(err.Error(), "window size exceeded") {
		t.Errorf("huge window: got %v", err)
	}
}

func TestReadFileErrors(t *testing.T) {
	packed := pack(t, sample(t), Zstd)
	for _, name := range []string{"none", "usr", "lib64", "", "../init/x"} {
		if _, err := Open(bytes.NewReader(packed)).ReadFile(name, 1<<20); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(packed[:100]), iotest.ErrReader(errors.New("input/output error")))
	if _, err := Open(broken).List(); err == nil || err.Error() != "input/output error" {
		t.Errorf("read error: got %v", err)
	}
}

func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "img")
	if err := sample(t).WriteFile(name, Gzip); err != nil {
		t.Fatal(err)
	}
	r, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := r.List(); err != nil || len(list) != 10 {
		t.Errorf("got %d entries, %v", len(list), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenFile(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: got %v", err)
	}
	if _, err := OpenFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
}

func FuzzReader(f *testing.F) {
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		f.Add(pack(f, sample(f), c))
	}
	f.Add(append(pack(f, one(f, "early", "x"), None), pack(f, one(f, "late", "y"), XZ)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := Open(bytes.NewReader(data))
		r.MaxUnpacked = 16 << 20
		for {
			e, err := r.Next()
			if err != nil {
				if again, err2 := r.Next(); err2 != err || again.Path != "" {
					t.Errorf("after %v: %v, %v", err, again, err2)
				}
				return
			}
			if strings.HasPrefix(e.Path, "/") || strings.HasPrefix(e.Path, "..") || e.Path == "" || e.Size < 0 {
				t.Errorf("entry %+v", e)
			}
			if n, err := io.Copy(io.Discard, r); err == nil && n != e.Size {
				t.Errorf("%s: read %d of %d bytes", e.Path, n, e.Size)
			}
		}
	})
}

package kimage

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	x86Version6 = release + " (debian-kernel@lists.debian.org) #1 SMP\x00"
	armBanner   = "Linux version 6.12.1-arm64 (user@host) (gcc) #1 SMP\n\x00"
)

func parseBytes(b []byte) (*Image, error) {
	return parse("vmlinuz", bytes.NewReader(b), int64(len(b)))
}

func TestParse(t *testing.T) {
	x86 := bz(x86Version6, gz([]byte("vmlinux")))
	image := arm(armBanner, 2)
	armWant := Image{Format: RawImage, Arch: "arm64", Release: "6.12.1-arm64", PageSize: 16384, InitSize: 32 << 20,
		CmdlineSize: 2047, KexecFile: true, FiveLevel: true}
	x86Want := Image{Format: BzImage, Arch: "amd64", Release: release, PageSize: 4096, InitSize: 64 << 20,
		CmdlineSize: 2047, KexecFile: true, FiveLevel: true}
	old := bytes.Clone(x86)
	le.PutUint16(old[x86Version:], 0x20b)
	low := bytes.Clone(x86)
	le.PutUint16(low[x86XLoadflags:], xlfKernel64)
	with := func(im Image, change func(*Image)) Image { change(&im); return im }

	for _, c := range []struct {
		name     string
		data     []byte
		want     Image
		loadable []byte
	}{
		{"bzImage", x86, x86Want, x86},
		{"protocol 2.11", old, with(x86Want, func(im *Image) { im.Arch, im.KexecFile, im.FiveLevel = "386", false, false }), old},
		{"only below 4 GiB", low, with(x86Want, func(im *Image) { im.KexecFile, im.FiveLevel = false, false }), low},
		{"UKI", peFile(".linux", x86, 0), with(x86Want, func(im *Image) { im.UKI = true }), x86},
		{"signed UKI", peFile(".linux", x86, 64), with(x86Want, func(im *Image) { im.UKI = true }), x86},
		{"Image", image, armWant, image},
		{"Image without page size", arm(armBanner, 0), with(armWant, func(im *Image) { im.PageSize = 0 }), arm(armBanner, 0)},
		{"Image.gz", gz(image), with(armWant, func(im *Image) { im.Format = GzipImage }), image},
		{"Image.zst", zst(t, image), with(armWant, func(im *Image) { im.Format = ZstdImage }), image},
		{"Image.xz", xzip(t, image, 1), with(armWant, func(im *Image) { im.Format = XZImage }), image},
		{"zboot gzip", armZboot("gzip", gz(image)), with(armWant, func(im *Image) { im.Format = Zboot }), image},
		{"zboot zstd", armZboot("zstd", zst(t, image)), with(armWant, func(im *Image) { im.Format = Zboot }), image},
		{"zboot xz", armZboot("xzkern", xzip(t, image, 4)), with(armWant, func(im *Image) { im.Format = Zboot }), image},
		{"UKI of zboot", peFile(".linux", armZboot("gzip", gz(image)), 0), with(armWant, func(im *Image) { im.Format, im.UKI = Zboot, true }), image},
	} {
		t.Run(c.name, func(t *testing.T) {
			im, err := parseBytes(c.data)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(im.Loadable(), c.loadable) {
				t.Errorf("Loadable gives %d bytes, want %d", len(im.Loadable()), len(c.loadable))
			}
			got := *im
			got.Path, got.data, got.payload = "", nil, nil
			if !equal(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// equal compares all but the bytes.
func equal(a, b Image) bool {
	return a.Format == b.Format && a.UKI == b.UKI && a.Arch == b.Arch && a.Release == b.Release &&
		a.PageSize == b.PageSize && a.InitSize == b.InitSize && a.CmdlineSize == b.CmdlineSize &&
		a.Signed == b.Signed && a.KexecFile == b.KexecFile && a.FiveLevel == b.FiveLevel
}

// A bzImage with the EFI stub is both: the PE header must not overlap with
// "HdrS" at 0x202, so only the certificate directory is tried here.
func TestSigned(t *testing.T) {
	var im Image
	if err := im.readPE(peFile(".text", []byte("code"), 64)); err != nil || !im.Signed {
		t.Errorf("signed PE: Signed = %v, %v", im.Signed, err)
	}
	im = Image{}
	if err := im.readPE(peFile(".text", []byte("code"), 0)); err != nil || im.Signed {
		t.Errorf("unsigned PE: Signed = %v, %v", im.Signed, err)
	}
	cut := peFile(".text", []byte("code"), 64)
	if err := im.readPE(cut[:len(cut)-1]); !errors.As(err, new(*TruncatedError)) {
		t.Errorf("PE without the end of its certificate: %v", err)
	}
}

// Hostile or odd PE headers are no signature, and no panic.
func TestSignedHeaders(t *testing.T) {
	const optional = 0x80 + 24
	signed := peFile(".text", []byte("code"), 64)
	change := func(f func(b []byte)) []byte { b := bytes.Clone(signed); f(b); return b }
	pe32 := change(func(b []byte) {
		b[0x84], b[0x85] = 0x4c, 0x01               // i386
		b[optional+1] = 0x01                        // 0x10b
		le.PutUint16(b[0x80+20:], 224)              // 16 bytes shorter
		copy(b[optional+92:], b[optional+108:][:4]) // directories
		copy(b[optional+96:optional+224], b[optional+112:optional+240])
		copy(b[optional+224:optional+264], b[optional+240:optional+280])
	})
	for _, c := range []struct {
		name string
		data []byte
		want bool
	}{
		{"signed", signed, true},
		{"signed PE32", pe32, true},
		{"not signed", peFile(".text", []byte("code"), 0), false},
		{"too few directories", change(func(b []byte) {
			b[optional+108] = 4
			le.PutUint16(b[0x80+20:], 112+4*8)
			copy(b[optional+112+4*8:], b[optional+240:optional+280])
		}), false},
		{"header behind the end", change(func(b []byte) { le.PutUint32(b[0x3c:], 1<<32-1) }), false},
		{"directories without end", change(func(b []byte) { le.PutUint32(b[optional+108:], 1<<32-1) }), false},
		{"no EFI program", change(func(b []byte) { b[0] = 0 }), false},
		{"cut off", signed[:optional+112+4*8+6], false},
		{"empty", nil, false},
	} {
		var im Image
		if err := im.readPE(c.data); err != nil || im.Signed != c.want {
			t.Errorf("%s: Signed = %v, %v", c.name, im.Signed, err)
		}
	}
}

// The loadable bytes of a kernel have the facts of the kernel.
func TestParseLoadable(t *testing.T) {
	for _, data := range [][]byte{bz(x86Version6, gz([]byte("vmlinux"))), arm(armBanner, 2), gz(arm(armBanner, 1))} {
		im, err := parseBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("copy", im.Loadable())
		if err != nil {
			t.Fatal(err)
		}
		if again.InitSize != im.InitSize || again.CmdlineSize != im.CmdlineSize || again.Release != im.Release || again.Signed != im.Signed || again.Path != "copy" {
			t.Errorf("got %+v\nwant %+v", again, im)
		}
	}
	if _, err := Parse("copy", nil); !errors.As(err, new(*TruncatedError)) {
		t.Errorf("nothing: %v", err)
	}
}

func TestParseErrors(t *testing.T) {
	x86 := bz(x86Version6, gz([]byte("vmlinux")))
	image := arm(armBanner, 1)
	zboot := armZboot("gzip", gz(image))
	damaged := xzip(t, noise(1000), 1)
	damaged[len(damaged)/2] ^= 1
	pad := func(s string) []byte { return append([]byte(s), noise(100)...) }
	var (
		notKernel *NotKernelError
		truncated *TruncatedError
		corrupt   *CorruptError
		method    *CompressionError
	)
	for _, c := range []struct {
		name string
		data []byte
		as   any
		text string
	}{
		{"empty", nil, &truncated, "vmlinuz: file is empty"},
		{"a few bytes", []byte("MZ"), &truncated, "only 2 bytes"},
		{"ELF", pad("\x7fELF"), &notKernel, "an ELF file (vmlinux?)"},
		{"cpio", pad("070701"), &notKernel, "initramfs"},
		{"cpio.gz", gz(pad("070701")), &notKernel, "gzip-compressed: inside is a cpio archive"},
		{"cpio.zst", zst(t, pad("070701")), &notKernel, "zstd-compressed: inside is a cpio archive"},
		{"script", pad("#!/bin/sh"), &notKernel, "a script"},
		{"text", bytes.Repeat([]byte("hello "), 50), &notKernel, "unknown format"},
		{"PE", peFile(".text", []byte("code"), 0), &notKernel, "EFI or Windows program"},
		{"memtest", bz("", gz(nil)), &notKernel, "names no Linux release"},
		{"hostile release", bz("6.1/../../etc\x00", gz(nil)), &notKernel, "names no Linux release"},
		{"bzImage cut", x86[:len(x86)-20], &truncated, "truncated: 1548 of"},
		{"bzImage cut in the header", x86[:500], &notKernel, "unknown format"},
		{"UKI cut", peFile(".linux", x86, 0)[:600], &truncated, "truncated: 600 of"},
		{"PE cut in its headers", peFile(".linux", x86, 0)[:0x90], &corrupt, "PE) is truncated or malformed"},
		{"Image cut", image[:900], &truncated, "only 900 bytes"},
		{"Image.gz cut", gz(image)[:90], &truncated, "truncated"},
		{"zboot cut", zboot[:len(zboot)-8], &truncated, "truncated"},
		{"zboot of riscv", armZboot("gzip", gz(pad(strings.Repeat("\x00", 48)+"RISCV\x00\x00\x00"))), &notKernel, "riscv64"},
		{"zboot of lz4", armZboot("lz4", pad("\x02\x21\x4c\x18")), &method, "cannot unpack lz4"},
		{"zboot of nothing", armZboot("new", pad("what?")), &method, `zboot payload of type "new"`},
		{"Image.lz4", pad("\x02\x21\x4c\x18"), &method, "cannot unpack lz4"},
		{"Image.xz damaged", damaged, &corrupt, "damaged: unpack xz: checksum is wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseBytes(c.data)
			if err == nil || !errors.As(err, c.as) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v (%T)\nwant %T with %q", err, err, c.as, c.text)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "read kernel: "+dir) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Open(dir); !errors.As(err, new(*NotKernelError)) || !strings.HasSuffix(err.Error(), "a directory") {
		t.Errorf("directory: %v", err)
	}
	if _, err := Open(os.DevNull); !errors.As(err, new(*NotKernelError)) {
		t.Errorf("device: %v", err)
	}
}

func TestDecompressBounds(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for method, data := range map[string][]byte{"gzip": gz(zeros), "zstd": zst(t, zeros), "xz": xzip(t, zeros, 0)} {
		if out, err := decompress(method, data, 1<<20); err != nil || len(out) != 1<<20 {
			t.Errorf("%s: got %d bytes, %v", method, len(out), err)
		}
		if _, err := decompress(method, data, 1<<20-1); err == nil {
			t.Errorf("%s: no error above the limit", method)
		}
	}
	bcj := xzip(t, zeros, 0)
	bcj[12+1] |= 1 // two filters
	le.PutUint32(bcj[12+8:], crc32.ChecksumIEEE(bcj[12:12+8]))
	if _, err := new(Image).unpack("xz", bcj); !errors.As(err, new(*CompressionError)) {
		t.Errorf("xz with two filters: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	image := arm(armBanner, 1)
	for _, b := range [][]byte{
		bz(x86Version6, gz(nil)), image, gz(image), zst(f, image), xzip(f, image, 1), armZboot("gzip", gz(image)),
		peFile(".linux", image, 8), []byte("#!/bin/sh"),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		im, err := parseBytes(b)
		if (im == nil) == (err == nil) {
			t.Fatalf("got %v, %v", im, err)
		}
		if err == nil && (im.Release == "" || im.Arch == "" || len(im.Loadable()) == 0) {
			t.Errorf("incomplete: %+v", im)
		}
	})
}

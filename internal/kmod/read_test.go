package kmod

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"ukdump/internal/advice"
)

func dummy(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "dummy.ko"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// pack compresses data with the writer that open returns.
func pack(t *testing.T, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(w io.Writer) (io.WriteCloser, error)  { return gzip.NewWriter(w), nil }
func xzw(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }
func zst(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }

func TestRead(t *testing.T) {
	ko := dummy(t)
	arm := bytes.Clone(ko)
	arm[18], arm[19] = 183, 0 // EM_AARCH64
	exe := bytes.Clone(ko)
	exe[16] = 2 // ET_EXEC
	big := append(bytes.Clone(ko), make([]byte, MaxSize)...)
	fsys := fstest.MapFS{
		"plain.ko":  {Data: ko},
		"a.ko.gz":   {Data: pack(t, ko, gz)},
		"a.ko.xz":   {Data: pack(t, ko, xzw)},
		"a.ko.zst":  {Data: pack(t, ko, zst)},
		"cut.ko.xz": {Data: pack(t, ko, xzw)[:200]},
		"cut.ko.gz": {Data: pack(t, ko, gz)[:200]},
		"false.ko":  {Data: pack(t, ko, xzw)},
		"empty.ko":  {},
		"big.ko.gz": {Data: pack(t, big, gz)},
		"arm.ko":    {Data: arm},
		"exe.ko":    {Data: exe},
	}
	tree := &Tree{fsys: fsys, Arch: "amd64"}
	for _, tt := range []struct{ file, want string }{
		{"plain.ko", ""},
		{"a.ko.gz", ""},
		{"a.ko.xz", ""},
		{"a.ko.zst", ""},
		{"none.ko", "file does not exist"},
		{"cut.ko.xz", "EOF"},
		{"cut.ko.gz", "EOF"},
		{"false.ko", "not an ELF file"},
		{"empty.ko", "not an ELF file"},
		{"big.ko.gz", "larger than 67108864 bytes"},
		{"arm.ko", "built for EM_AARCH64, not for amd64"},
		{"exe.ko", "ELF type ET_EXEC"},
	} {
		got, err := tree.Read(Module{Name: "x", Path: tt.file})
		switch {
		case tt.want == "" && (err != nil || !bytes.Equal(got, ko)):
			t.Errorf("%s: got %d bytes, error %v", tt.file, len(got), err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got error %v, want %q", tt.file, err, tt.want)
		}
	}
}

func TestReadInfo(t *testing.T) {
	want := &Info{
		Name:     "dummy",
		Vermagic: "6.1.0-50-amd64 SMP preempt mod_unload modversions ",
		Depends:  []string{"crc16", "mb_cache"},
		Firmware: []string{"dummy/one.bin", "dummy/two.bin"},
		Signed:   true,
	}
	got, err := ReadInfo(dummy(t))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	data := dummy(t)
	got, err = ReadInfo(data[:len(data)-1])
	if err != nil || got.Signed {
		t.Errorf("without the end: Signed %v, error %v", got.Signed, err)
	}
	if _, err := ReadInfo(data[:120]); err == nil {
		t.Error("a module that was cut off has information")
	}
}

func TestFits(t *testing.T) {
	const release = "5.14.0-2.el9"
	own := &Info{Vermagic: release + " SMP preempt mod_unload modversions "}
	for _, tt := range []struct {
		name     string
		vermagic string
		crcs     bool
		alone    bool // no module of the kernel's own is there
		want     bool
	}{
		{"own", own.Vermagic, false, false, true},
		{"other release", "5.14.0-1.el9 SMP preempt mod_unload modversions ", false, false, false},
		{"other release with CRCs", "5.14.0-1.el9 SMP preempt mod_unload modversions ", true, false, true},
		{"other configuration", "5.14.0-1.el9 SMP mod_unload modversions ", true, false, false},
		{"alone", "5.14.0-1.el9 SMP preempt mod_unload modversions ", true, true, true},
		{"alone without CRCs", "5.14.0-1.el9 SMP preempt mod_unload ", false, true, false},
		{"nothing", "", false, false, false},
	} {
		m := &Info{Vermagic: tt.vermagic, CRCs: tt.crcs}
		all := []*Info{m}
		if !tt.alone {
			all = append(all, own)
		}
		if got := m.Fits(KernelMagic(release, all)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A line of modprobe.d that is not understood costs no other line.
func TestDamagedOptions(t *testing.T) {
	o, err := ReadOptions(fstest.MapFS{"etc/modprobe.d/a.conf": {Data: []byte(
		"\xef\xbb\xbfoptions\noptions a\r\noptions a x=1 \\\r\n y=2\r\n\x00\x01\noption a z=1\noptions a bad=\x00 last=3")}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := o.Params("a"), "x=1 y=2 last=3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOptions(t *testing.T) {
	o, err := ReadOptions(fstest.MapFS{
		"etc/modprobe.d/50-a.conf":     {Data: []byte("# c\noptions scsi-mod scan=sync \\\n  inq_timeout=9\ninstall x /bin/false\nblacklist y\noptions z\n")},
		"usr/lib/modprobe.d/50-a.conf": {Data: []byte("options hidden a=1\n")},
		"usr/lib/modprobe.d/10-b.conf": {Data: []byte("options scsi_mod max_luns=1\n")},
		"etc/modprobe.d/old":           {Data: []byte("options old a=1\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.AddCommandLine(`BOOT_IMAGE=/vmlinuz-6.1 root=/dev/sda1 nvme-core.io_timeout=5 a.b="c d" "e.f=g h" i.j scsi_mod.scan=none panic=1 -- k.l=m`)
	for module, want := range map[string]string{
		"scsi_mod":   "max_luns=1 scan=sync inq_timeout=9 scan=none",
		"nvme_core":  "io_timeout=5",
		"nvme-core":  "io_timeout=5",
		"a":          `b="c d"`,
		"e":          `f="g h"`,
		"i":          "j",
		"hidden":     "",
		"old":        "",
		"k":          "",
		"z":          "",
		"BOOT_IMAGE": "",
	} {
		if got := o.Params(module); got != want {
			t.Errorf("parameters of %s: got %q, want %q", module, got, want)
		}
	}
}

// Modules that are whole, but packed in a way that nothing here unpacks.
func TestReadAdvice(t *testing.T) {
	ko := dummy(t)
	frame := func(log byte) []byte { // of zstd, with a window of 1<<log bytes and one raw block
		n := len(ko)<<3 | 1
		return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, byte(n), byte(n >> 8), byte(n >> 16)}, ko...)
	}
	packed := func(options ...string) []byte {
		cmd := exec.Command("xz", append([]string{"-c"}, options...)...)
		cmd.Stdin = bytes.NewReader(ko)
		out, err := cmd.Output()
		if err != nil {
			t.Skip(err)
		}
		return out
	}
	fsys := fstest.MapFS{
		"window22.ko.zst": {Data: frame(22)},
		"window28.ko.zst": {Data: frame(28)},
		"window31.ko.zst": {Data: frame(31)},
		"x86.ko.xz":       {Data: packed("--x86", "--lzma2=dict=1MiB")},
		"arm.ko.xz":       {Data: packed("--arm", "--lzma2=dict=1MiB")},
		"long.ko.xz":      {Data: packed("--lzma2=dict=512MiB")},
		"plain.ko.xz":     {Data: packed("--check=crc32", "--lzma2=dict=1MiB")},
	}
	for name, want := range map[string]string{
		"window22.ko.zst": "", "plain.ko.xz": "",
		"window28.ko.zst": "without --long", "window31.ko.zst": "without --long",
		"x86.ko.xz": "xz --check=crc32", "arm.ko.xz": "xz --check=crc32", "long.ko.xz": "xz --check=crc32",
	} {
		_, err := (&Tree{fsys: fsys}).Read(Module{Name: "x", Path: name})
		if got := advice.For(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %v, advice %q", name, err, got)
		}
	}
}

// Files that are damaged: whoever reads the error knows what to do.
func TestDamagedAdvice(t *testing.T) {
	ko := dummy(t)
	fsys := fstest.MapFS{
		"empty.ko":    {},
		"cut.ko":      {Data: ko[:100]},
		"text.ko":     {Data: []byte(strings.Repeat("text ", 20))},
		"garbage.xz":  {Data: []byte("garbage")},
		"garbage.zst": {Data: []byte("garbage")},
		"cut.ko.gz":   {Data: []byte("\x1f\x8b\x08\x00\x00")},
	}
	tree := &Tree{fsys: fsys, release: "6.1.0"}
	for name := range fsys {
		m := Module{Name: "x", Path: name}
		data, err := tree.Read(m)
		if err == nil {
			_, err = tree.Info(m, data)
		}
		if err == nil || !strings.Contains(advice.For(err), "package of kernel 6.1.0") {
			t.Errorf("%s: %v, advice %q", name, err, advice.For(err))
		}
	}
	for _, root := range []fstest.MapFS{
		{"etc/modprobe.d": {Data: []byte("options x y=1\n")}},
		{"etc/modprobe.d/a.conf": {Mode: fs.ModeDir}, "etc/modprobe.d/b.conf": {Mode: fs.ModeNamedPipe}},
	} {
		if _, err := ReadOptions(root); err != nil && advice.For(err) == "" {
			t.Errorf("%v: no advice", err)
		}
	}
}

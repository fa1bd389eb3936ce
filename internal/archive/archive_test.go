package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ukdump/internal/crashdir"
	"ukdump/internal/debug/debugtest"
)

// newDump makes a dump with those files.
func newDump(t *testing.T, files map[string]string) crashdir.Dump {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "2026-11-20T01-00-00Z")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := crashdir.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// files returns the files below dir with their content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func vmcore() string {
	return string(debugtest.Dump("amd64", "6.1.0", "#1", "OSRELEASE=6.1.0\n"))
}

func TestExportAndImport(t *testing.T) {
	report := (&crashdir.Report{Version: crashdir.ReportVersion, Outcome: crashdir.Complete, Host: "web7", Kernel: "6.1.0"})
	json, err := report.Encode()
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{
		"vmcore-dmesg.txt": "[    0.000000] web7 10.0.0.1\n", "kexec-dmesg.log": "log\n", "report.json": string(json), "vmcore": vmcore(), "other": "x", "report.html": "<p>web7",
	}
	d := newDump(t, content)
	conf := filepath.Join(t.TempDir(), "ukdump.conf")
	if err := os.WriteFile(conf, []byte("BOOT_OPTIONS=ip=10.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		export Export
		want   map[string]string
	}{
		{"all", Export{Vmcore: true, Config: []string{conf}}, map[string]string{
			"vmcore-dmesg.txt": content["vmcore-dmesg.txt"], "kexec-dmesg.log": "log\n", "report.json": string(json), "report.html": "<p>web7",
			"vmcore": vmcore(), "config/ukdump.conf": "BOOT_OPTIONS=ip=10.0.0.1\n",
		}},
		{"scrubbed", Export{Scrub: NewScrubber([]string{"web7"}, nil), Config: []string{conf}}, map[string]string{
			"vmcore-dmesg.txt": "[    0.000000] <host-1> <ip-1>\n", "kexec-dmesg.log": "log\n", "report.json": strings.ReplaceAll(string(json), "web7", "<host-1>"),
			"config/ukdump.conf": "BOOT_OPTIONS=ip=<ip-1>\n",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.export.Dump = d
			var b bytes.Buffer
			if err := tt.export.Write(&b, nil); err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			file := filepath.Join(parent, "x.tar.zst")
			if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			im := Import{Dir: filepath.Join(parent, "imported")}
			dir, err := im.File(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			got := files(t, dir)
			for name, want := range tt.want {
				if got[name] != want {
					t.Errorf("%s: got %.200q\nwant %.200q", name, got[name], want)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d files, want %d", len(got), len(tt.want))
			}
		})
	}
	if err := (&Export{Dump: d, Vmcore: true, Scrub: NewScrubber(nil, nil)}).Write(io.Discard, nil); err == nil {
		t.Error("a vmcore was scrubbed")
	}
}

// entry is one entry of a hostile archive.
type entry struct {
	name, content string
	change        func(h *tar.Header)
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Size: int64(len(e.content)), Mode: 0o777}
		if e.change != nil {
			e.change(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, e.content)
		}
	}
	w.Flush()
	if !slices.ContainsFunc(entries, func(e entry) bool { return e.change != nil }) {
		w.Close()
	}
	z.Close()
	return b.Bytes()
}

// squeeze compresses text with zstd.
func squeeze(t testing.TB, text string) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll([]byte(text), nil)
}

func kind(typ byte, link string) func(h *tar.Header) {
	return func(h *tar.Header) { h.Typeflag, h.Linkname, h.Size = typ, link, 0 }
}

// damage changes the last byte, which is of the checksum.
func damage(file []byte) []byte {
	file[len(file)-1] ^= 1
	return file
}

func TestImportHostile(t *testing.T) {
	log := entry{"d/vmcore-dmesg.txt", "log\n", nil}
	many := make([]entry, 0, 1100)
	for i := range 1100 {
		many = append(many, entry{fmt.Sprintf("d/btf/m%d", i), "x", nil})
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string // part of the error
	}{
		{"path outside", pack(t, log, entry{"../vmcore-dmesg.txt", "x", nil}), "not a name of an exported file"},
		{"absolute path", pack(t, log, entry{"/etc/passwd", "x", nil}), "not a name of an exported file"},
		{"deep path", pack(t, log, entry{"d/../../report.json", "x", nil}), "not a name of an exported file"},
		{"deep name of a module", pack(t, log, entry{"d/btf/a/b", "x", nil}), "not a name of an exported file"},
		{"name of a module outside", pack(t, log, entry{"d/btf/..", "x", nil}), "not a name of an exported file"},
		{"hidden path", pack(t, log, entry{"d/config/../../x.conf", "x", nil}), "not a name of an exported file"},
		{"other file", pack(t, log, entry{"d/run.sh", "x", nil}), "not a name of an exported file"},
		{"symbolic link", pack(t, log, entry{"d/report.json", "", kind(tar.TypeSymlink, "/etc/shadow")}), "not a regular file"},
		{"hard link", pack(t, log, entry{"d/report.json", "", kind(tar.TypeLink, "/etc/shadow")}), "not a regular file"},
		{"device", pack(t, log, entry{"d/vmcore", "", kind(tar.TypeBlock, "")}), "not a regular file"},
		{"directory", pack(t, log, entry{"d/config/", "", kind(tar.TypeDir, "")}), "not a regular file"},
		{"twice", pack(t, log, log), "a second time"},
		{"too many", pack(t, many...), "more than 1088 files"},
		{"no room", pack(t, entry{"d/vmcore", "x", func(h *tar.Header) { h.Size = 1 << 50 }}), "no room"},
		{"long text", pack(t, entry{"d/report.json", "x", func(h *tar.Header) { h.Size = maxText + 1 }}), "too long"},
		{"truncated", pack(t, entry{"d/report.json", "x", func(h *tar.Header) { h.Size = 1 << 20 }}), "unexpected EOF"},
		{"nothing", pack(t), "empty"},
		{"damaged", pack(t, log)[:20], "EOF"},
		{"damaged checksum", damage(pack(t, log, entry{"d/report.json", strings.Repeat("{}", 1<<20), nil})), "CRC"},
		{"long tail", append(pack(t, log), pack(t, entry{"d/vmcore", strings.Repeat("x", maxTail), nil})...), "the end of the archive: too long"},
		{"compressed vmcore", squeeze(t, strings.Repeat("KDUMP   ", 1<<10)), "zstd-compressed, but no archive of kdumpctl export"},
		{"no archive", []byte("#!/bin/sh\n"), "neither an exported archive nor a vmcore"},
		{"only a configuration", pack(t, entry{"d/config/ukdump.conf", "x", nil}), "neither a vmcore nor a report nor a log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			file := filepath.Join(parent, "file")
			if err := os.WriteFile(file, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			im := Import{Dir: filepath.Join(parent, "imported"), Room: func(string) (crashdir.Room, error) {
				return crashdir.Room{Free: 1 << 40, Largest: 1 << 60}, nil
			}}
			_, err := im.File(t.Context(), file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if left := files(t, parent); len(left) != 1 {
				t.Errorf("left: %d files", len(left))
			}
			dumps, err := crashdir.List(im.Dir)
			if len(dumps) > 0 || err != nil {
				t.Errorf("left: %v, %v", dumps, err)
			}
		})
	}
}

// A vmcore of another tool gets a dump of its own, and is complete only if it is whole.
func TestImportVmcore(t *testing.T) {
	for want, content := range map[crashdir.Outcome]string{crashdir.Complete: vmcore(), crashdir.Incomplete: vmcore()[:5*4096]} {
		parent := t.TempDir()
		file := filepath.Join(parent, "core")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 11, 20, 1, 0, 0, 0, time.UTC)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
		im := Import{Dir: filepath.Join(parent, "imported")}
		dir, err := im.File(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := crashdir.Read(dir)
		if (im.Cut == nil) != (want == crashdir.Complete) {
			t.Errorf("%s: the reason is %v", want, im.Cut)
		}
		if err != nil || d.Outcome != want || filepath.Base(dir) != "2026-11-20T01-00-00Z" {
			t.Errorf("%s: %+v, %v, want %s", dir, d, err, want)
		}
	}
}

// An interrupted import leaves nothing.
func TestImportCancelled(t *testing.T) {
	for name, content := range map[string][]byte{
		"vmcore":  []byte(vmcore()),
		"archive": pack(t, entry{"d/vmcore-dmesg.txt", "log\n", nil}, entry{"d/vmcore", strings.Repeat("x", 1<<20), nil}),
	} {
		parent := t.TempDir()
		file := filepath.Join(parent, "file")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		im := Import{Dir: filepath.Join(parent, "imported")}
		im.Copied = func(int64) { cancel(errors.New("interrupted")) }
		if dir, err := im.File(ctx, file); err == nil || !strings.HasSuffix(err.Error(), "interrupted") {
			t.Errorf("%s: %s, %v", name, dir, err)
		}
		if left := files(t, parent); len(left) != 1 {
			t.Errorf("%s: left: %d files", name, len(left))
		}
	}
}

// Whoever looks while an import goes on, or after it was killed, sees no complete dump.
func TestImportInterrupted(t *testing.T) {
	parent := t.TempDir()
	file := filepath.Join(parent, "file")
	if err := os.WriteFile(file, []byte(vmcore()), 0o600); err != nil {
		t.Fatal(err)
	}
	im := Import{Dir: filepath.Join(parent, "imported")}
	im.Copied = func(int64) {
		dumps, err := crashdir.List(im.Dir)
		for _, d := range dumps {
			if d.Outcome == crashdir.Complete {
				t.Error("a dump is complete that is being written")
			}
		}
		if len(dumps) != 1 || err != nil {
			t.Errorf("%v, %v", dumps, err)
		}
	}
	if _, err := im.File(t.Context(), file); err != nil {
		t.Fatal(err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add(pack(f, entry{"d/vmcore-dmesg.txt", "log\n", nil}, entry{"d/vmcore", vmcore(), nil}), true)
	f.Fuzz(func(t *testing.T, data []byte, plain bool) {
		dir := t.TempDir()
		in := io.Reader(bytes.NewReader(data))
		if !plain { // the tar archive itself is mutated
			var b bytes.Buffer
			z, _ := zstd.NewWriter(&b)
			z.Write(data)
			z.Close()
			in = &b
		}
		im := Import{Dir: dir, Room: func(string) (crashdir.Room, error) { return crashdir.Room{Free: 32 << 20, Largest: 1 << 40}, nil }}
		im.archive(t.Context(), in)
		for name := range files(t, dir) {
			if _, below, ok := strings.Cut(name, "/"); ok {
				name = below
			}
			if _, err := member("d/" + name); err != nil {
				t.Errorf("it wrote %q", name)
			}
		}
	})
}

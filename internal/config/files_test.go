package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes files and, for a text that begins with "-> ", links.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		target, link := strings.CutPrefix(text, "-> ")
		if !link {
			write(t, filepath.Join(root, name), text)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestPlaces(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		where string // that set KEEP, below the root; "default"
		err   string
	}{
		{"vendor drop-in", map[string]string{"usr/lib/ukdump.conf.d/50-x.conf": "KEEP=3"}, "usr/lib/ukdump.conf.d/50-x.conf:1", ""},
		{"vendor drop-in wins over the main file", map[string]string{"etc/ukdump.conf": "KEEP=2", "usr/lib/ukdump.conf.d/50-x.conf": "KEEP=3"},
			"usr/lib/ukdump.conf.d/50-x.conf:1", ""},
		{"same name", map[string]string{"usr/lib/ukdump.conf.d/x.conf": "KEEP=1", "usr/local/lib/ukdump.conf.d/x.conf": "KEEP=2", "run/ukdump.conf.d/x.conf": "KEEP=3",
			"etc/ukdump.conf.d/x.conf": "KEEP=4"}, "etc/ukdump.conf.d/x.conf:1", ""},
		{"/run before /usr/lib", map[string]string{"usr/lib/ukdump.conf.d/x.conf": "KEEP=1", "run/ukdump.conf.d/x.conf": "KEEP=3"}, "run/ukdump.conf.d/x.conf:1", ""},
		{"order of names, not of directories", map[string]string{"etc/ukdump.conf.d/10.conf": "KEEP=1", "usr/lib/ukdump.conf.d/20.conf": "KEEP=2"}, "usr/lib/ukdump.conf.d/20.conf:1", ""},
		{"masked", map[string]string{"usr/lib/ukdump.conf.d/x.conf": "KEEP=1", "etc/ukdump.conf.d/x.conf": "-> /dev/null"}, "default", ""},
		{"masked by a relative link", map[string]string{"usr/lib/ukdump.conf.d/x.conf": "KEEP=1", "run/ukdump.conf.d/x.conf": "-> ../../dev/null"}, "default", ""},
		{"masked by an empty file", map[string]string{"usr/lib/ukdump.conf.d/x.conf": "nonsense", "etc/ukdump.conf.d/x.conf": ""}, "default", ""},
		{"masked, without anything to mask", map[string]string{"etc/ukdump.conf.d/x.conf": "-> /dev/null"}, "default", ""},
		{"main file of the vendor", map[string]string{"usr/lib/ukdump.conf": "KEEP=1"}, "usr/lib/ukdump.conf:1", ""},
		{"main file of /etc", map[string]string{"usr/lib/ukdump.conf": "nonsense", "etc/ukdump.conf": "KEEP=1"}, "etc/ukdump.conf:1", ""},
		{"main file masked", map[string]string{"usr/lib/ukdump.conf": "nonsense", "etc/ukdump.conf": "-> /dev/null"}, "default", ""},
		{"absolute link inside the root", map[string]string{"etc/ukdump.conf": "-> /etc/conf.d/simple.conf", "etc/conf.d/simple.conf": "KEEP=1"}, "etc/ukdump.conf:1", ""},
		{"drop-in directory is a link", map[string]string{"etc/ukdump.conf.d": "-> /srv/conf", "srv/conf/x.conf": "KEEP=1"}, "etc/ukdump.conf.d/x.conf:1", ""},

		{"main file leads nowhere", map[string]string{"etc/ukdump.conf": "-> /etc/none"}, "", "etc/ukdump.conf: a link to /etc/none, which does not exist"},
		{"drop-in leads nowhere", map[string]string{"etc/ukdump.conf.d/x.conf": "-> ../../none"}, "", "etc/ukdump.conf.d/x.conf: a link to ../../none, which does not exist"},
		{"drop-in directory leads nowhere", map[string]string{"etc/ukdump.conf.d": "-> /srv/none"}, "", "etc/ukdump.conf.d: a link to /srv/none, which does not exist"},
		{"vendor's leads nowhere", map[string]string{"usr/lib/ukdump.conf.d/x.conf": "-> none"}, "", "usr/lib/ukdump.conf.d/x.conf: a link to none, which does not exist"},
		{"chain that leads nowhere", map[string]string{"etc/ukdump.conf": "-> b", "etc/b": "-> c"}, "", "etc/ukdump.conf: a link to b, which does not exist"},
		{"loop", map[string]string{"etc/ukdump.conf.d/x.conf": "-> x.conf"}, "", "etc/ukdump.conf.d/x.conf: too many levels of symbolic links"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := machine(t, tt.files)
			c, err := Load(root)
			if tt.err != "" {
				if err == nil || err.Error() != "read configuration: "+root+"/"+tt.err {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimPrefix(c.Where("KEEP"), root+"/"); got != tt.where {
				t.Errorf("KEEP is from %s, want %s", got, tt.where)
			}
		})
	}
}

func TestAllMistakes(t *testing.T) {
	root := machine(t, map[string]string{
		"etc/ukdump.conf":              "KEEPS=1\nDUMP_LEVEL=7\nTARGET=x\nMOTD=\u201cyes\u201d\n",
		"etc/ukdump.conf.d/a.conf":     "-> none",
		"usr/lib/ukdump.conf.d/b.conf": "nonsense\nKEEP=1\n",
		"run/ukdump.conf.d/c.conf":     "KEEP=1",
	})
	_, err := Load(root)
	want := []string{
		"etc/ukdump.conf:1: unknown key KEEPS (did you mean KEEP?)",
		`etc/ukdump.conf:3: TARGET=x: "x" is neither an absolute path of a directory, nor a raw device as in raw:PARTUUID=ID, nor a target at a server as in sftp://USER@HOST/PATH; targets are separated by spaces`,
		`etc/ukdump.conf:4:6: U+201C is a typographic quote: write " or '`,
		"etc/ukdump.conf.d/a.conf: a link to none, which does not exist",
		`usr/lib/ukdump.conf.d/b.conf:1: no = in "nonsense"; a line is KEY=VALUE or a comment`,
	}
	var all Errors
	if !errors.As(err, &all) || len(all) != len(want) {
		t.Fatalf("got %v", err)
	}
	for i, e := range all {
		got := strings.TrimPrefix(strings.TrimPrefix(e.Error(), "read configuration: "), root+"/")
		if got != want[i] {
			t.Errorf("got  %s\nwant %s", got, want[i])
		}
	}
}

func TestCharacters(t *testing.T) {
	const bom = "\ufeff"
	for _, tt := range []struct{ text, want string }{
		{bom + "KEEP=3\n", ""},
		{bom + "# comment\r\nKEEP=3\r\n", ""},
		{"# \u201cquoted\u201d\u00a0and \xff in a comment\nKEEP=3", ""},
		{"TARGET=/srv/Größe/日本", ""},
		{"\n" + bom + "KEEP=3", "f:2:1: U+FEFF is invisible: remove it"},
		{bom + bom + "KEEP=3", "f:1:1: U+FEFF is invisible: remove it"},
		{"KEEP\u00a0=3", "f:1:5: U+00A0 is a space that separates nothing: write a blank"},
		{"KEEP=3\u00a0", "f:1:7: U+00A0 is a space that separates nothing: write a blank"},
		{"\u00a0# no comment", "f:1:1: U+00A0 is a space that separates nothing: write a blank"},
		{"BOOT_OPTIONS=\"a\u00a0b\"", "f:1:16: U+00A0 is a space that separates nothing: write a blank"},
		{"BOOT_OPTIONS=ä\u202fb", "f:1:15: U+202F is a space that separates nothing: write a blank"},
		{"TARGET=/a\u3000/b", "f:1:10: U+3000 is a space that separates nothing: write a blank"},
		{"KEEP=3\u2028MOTD=yes", "f:1:7: U+2028 is a space that separates nothing: write a blank"},
		{"TARGET=/var/\u200bcrash", "f:1:13: U+200B is invisible: remove it"},
		{"KE\u00adEP=3", "f:1:3: U+00AD is invisible: remove it"},
		{"TARGET='/var/crash\u200d'", "f:1:19: U+200D is invisible: remove it"},
		{"TARGET=/var/\u202ehsarc", "f:1:13: U+202E is invisible: remove it"},
		{"KEEP=\u28003", "f:1:6: U+2800 is invisible: remove it"},
		{"BOOT_OPTIONS=\u201cquiet\u201d", `f:1:14: U+201C is a typographic quote: write " or '`},
		{"BOOT_OPTIONS=„quiet“", `f:1:14: U+201E is a typographic quote: write " or '`},
		{"BOOT_OPTIONS=‘quiet’", `f:1:14: U+2018 is a typographic quote: write " or '`},
		{"BOOT_OPTIONS=«quiet»", `f:1:14: U+00AB is a typographic quote: write " or '`},
		{"BOOT_OPTIONS=a \\\n b \\\n c–d", "f:3:3: U+2013 is a dash, but no minus: write -"},
		{"BOOT_OPTIONS=usbcore.autosuspend=\u22121", "f:1:34: U+2212 is a dash, but no minus: write -"},
		{"TARGET=raw:PARTUUID=1—2", "f:1:22: U+2014 is a dash, but no minus: write -"},
		{"TARGET=/var/cr…", "f:1:15: U+2026 is an ellipsis: write three dots"},
		{"KEEP＝3", "f:1:5: U+FF1D is a wide character: write ="},
		{"KEEP=３", "f:1:6: U+FF13 is a wide character: write 3"},
		{"  К\u0415EP=3", "f:1:3: U+041A in the key is not ASCII"},
		{"KEEP=٣", "f:1: KEEP=٣: not a number of dumps; 0 is no limit (U+0663 is not ASCII)"},
		{"COMPRESS=zst\u0501", "f:1: COMPRESS=zst\u0501: not auto, zstd, lzo, snappy, zlib or none (U+0501 is not ASCII)"},
		{"KEEP=\ufffd", "f:1:6: U+FFFD stands for a character that was lost"},
		{"TARGET=/gr\xf6\xdfe", "f:1:11: the byte 0xF6 is not UTF-8"},
		{"K\x00E\x00E\x00P\x00=\x003\x00", "f:1: UTF-16; save this file as UTF-8"},
		{"\xff\xfeK\x00E\x00", "f:1: UTF-16; save this file as UTF-8"},
		{"\xfe\xff\x00K\x00E", "f:1: UTF-16; save this file as UTF-8"},
	} {
		got := ""
		if err := Default().apply("f", tt.text); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q:\ngot  %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

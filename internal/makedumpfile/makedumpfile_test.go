package makedumpfile

import (
	"strings"
	"testing"
)

// debian12 is a part of the program of Debian 12.
const debian12 = "makedumpfile: version 1.7.2 (released on 20 Oct 2022)\n\x00" +
	"lzo\tenabled\n\x00snappy\tdisabled\n\x00zstd\tdisabled\n\x00" +
	"  [-L SIZE]:\n\x00"

func TestParse(t *testing.T) {
	const zstd = "makedumpfile: version 1.7.7 (released on 21 Apr 2025)\n\x00lzo\tdisabled\n\x00snappy\tenabled\n\x00zstd\tenabled\n\x00"
	for _, tt := range []struct {
		name, program, version, compress, auto, slow string
	}{
		{"Debian 12", "\x7fELF\x00" + debian12, "1.7.2", "none zlib lzo", "lzo", "lzo"},
		{"with zstd", zstd, "1.7.7", "none zlib snappy zstd", "snappy", "zstd"},
		{"nothing enabled", strings.ReplaceAll(debian12, "enabled", "disabled"), "1.7.2", "none zlib", "zlib", "zlib"},
		{"only snappy", strings.Replace(zstd, "zstd\tenabled", "", 1), "1.7.7", "none zlib snappy", "snappy", "snappy"},
		{"old, without the list", "makedumpfile: version 1.5.0 (released on 6 Sep 2012)\n", "1.5.0", "none zlib", "zlib", "zlib"},
		{"something else", "\x7fELF makedumpfile: version \x00", "", "none zlib", "zlib", "zlib"},
		{"the format string first", "makedumpfile: version %s and more\x00" + zstd, "1.7.7", "none zlib snappy zstd", "snappy", "zstd"},
		{"a version too long", "makedumpfile: version " + strings.Repeat("1", maxVersion+1) + " (", "", "none zlib", "zlib", "zlib"},
	} {
		p := Parse([]byte(tt.program))
		if p.Version != tt.version || strings.Join(p.Compressions, " ") != tt.compress {
			t.Errorf("%s: version %q, %q", tt.name, p.Version, p.Compressions)
		}
		if want := strings.Contains(tt.program, "-L"); p.Limits != want {
			t.Errorf("%s: -L is %v", tt.name, p.Limits)
		}
		for slow, want := range map[bool]string{false: tt.auto, true: tt.slow} {
			if got, err := p.Choose("auto", slow); got != want || err != nil {
				t.Errorf("%s: auto is %q, %v, want %q", tt.name, got, err, want)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	p := Program{Path: "/usr/bin/makedumpfile", Version: "1.7.2", Compressions: []string{"none", "zlib", "lzo"}}
	for _, c := range p.Compressions {
		if got, err := p.Choose(c, true); got != c || err != nil {
			t.Errorf("%s: got %q, %v", c, got, err)
		}
		if _, ok := Options(c); !ok {
			t.Errorf("%s: no options", c)
		}
	}
	const want = "COMPRESS=zstd: /usr/bin/makedumpfile 1.7.2 does not support zstd, only none, zlib, lzo"
	if _, err := p.Choose("zstd", true); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, ok := Options("lzma"); ok {
		t.Error("lzma has options")
	}
}

func TestReason(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"makedumpfile Failed.\n": "",
		"copy: no room for more": "copy: no room for more",
		"get_machdep_info_arm64: Can't determine platform config values\n\nmakedumpfile Failed.": "get_machdep_info_arm64: Can't determine platform config values",
		// The buffer of standard output is written last if it is no terminal.
		"get_machdep_info_arm64: Can't determine platform config values\n\nmakedumpfile Failed.\nThe kernel version is not supported.\nThe makedumpfile operation may be incomplete.\n": "get_machdep_info_arm64: Can't determine platform config values",
		"a\nopen_dump_memory: Can't open the dump memory(/proc/kcore). Operation not permitted\n\nmakedumpfile Failed.\n":                                                               "open_dump_memory: Can't open the dump memory(/proc/kcore). Operation not permitted",
	} {
		if got := Reason(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func TestUnknownKernel(t *testing.T) {
	for in, want := range map[string]bool{
		"": false,
		"The kernel version is not supported.\nThe makedumpfile operation may be incomplete.\n": true,
		"Copying data : [100.0 %]": false,
	} {
		if got := UnknownKernel(in); got != want {
			t.Errorf("%q: got %v", in, got)
		}
	}
}

func TestProgress(t *testing.T) {
	p := &Progress{}
	if p.Update([]byte("The kernel version is not supported.\n")) {
		t.Error("no progress in a message")
	}
	in := "\rCopying data                                      : [ 12.0 %] -           eta: 9s" +
		"\rCopying data                                      : [ 45.3 %] \\           eta: 3s"
	if !p.Update([]byte(in)) || *p != (Progress{"Copying data", 45.3}) || !p.Copying() {
		t.Errorf("got %+v", p)
	}
	for _, bad := range []string{"%", ": [ x %", ": [ 200 %", ": [ nan %", "a 5 %"} {
		if p.Update([]byte(bad)) {
			t.Errorf("%q: accepted", bad)
		}
	}
	if !p.Update([]byte("Excluding unnecessary pages : [100.0 %]")) || p.Copying() {
		t.Errorf("got %+v", p)
	}
}

// FuzzOutput: any output of a collector is safe to read.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("\rCopying data : [ 12.0 %] -           eta: 9s\nmakedumpfile Failed.\n"))
	f.Add([]byte(debian12))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Progress
		if p.Update(b) && !(p.Percent >= 0 && p.Percent <= 100) {
			t.Errorf("%q: %+v", b, p)
		}
		Reason(string(b))
		if v := Parse(b).Version; len(v) > maxVersion || strings.ContainsAny(v, " \n") {
			t.Errorf("%q: version %q", b, v)
		}
	})
}

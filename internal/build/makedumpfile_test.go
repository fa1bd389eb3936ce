package build

import (
	"slices"
	"strings"
	"testing"

	"ukdump/internal/build/buildtest"
)

func TestParseVersion(t *testing.T) {
	const zstd = "makedumpfile: version 1.7.7 (released on 21 Apr 2025)\n\x00lzo\tdisabled\n\x00snappy\tenabled\n\x00zstd\tenabled\n\x00"
	for _, tt := range []struct {
		name, program, version, compress, auto string
	}{
		{"Debian 12", "\x7fELF\x00" + buildtest.MakedumpfileText, "1.7.2", "none zlib lzo", "lzo"},
		{"with zstd", zstd, "1.7.7", "none zlib snappy zstd", "zstd"},
		{"nothing enabled", strings.ReplaceAll(buildtest.MakedumpfileText, "enabled", "disabled"), "1.7.2", "none zlib", "zlib"},
		{"only snappy", strings.Replace(zstd, "zstd\tenabled", "", 1), "1.7.7", "none zlib snappy", "snappy"},
		{"old, without the list", "makedumpfile: version 1.5.0 (released on 6 Sep 2012)\n", "1.5.0", "none zlib", "zlib"},
		{"something else", "\x7fELF makedumpfile: version \x00", "", "none zlib", "zlib"},
	} {
		var m makedumpfile
		m.parseVersion([]byte(tt.program))
		if m.version != tt.version || strings.Join(m.compress, " ") != tt.compress {
			t.Errorf("%s: version %q, %q", tt.name, m.version, m.compress)
		}
		if got, err := m.choose("auto"); got != tt.auto || err != nil {
			t.Errorf("%s: auto is %q, %v, want %q", tt.name, got, err, tt.auto)
		}
	}
}

func TestChoose(t *testing.T) {
	m := makedumpfile{path: "/usr/bin/makedumpfile", version: "1.7.2", compress: []string{"none", "zlib", "lzo"}}
	for _, c := range m.compress {
		if got, err := m.choose(c); got != c || err != nil {
			t.Errorf("%s: got %q, %v", c, got, err)
		}
	}
	const want = "COMPRESS=zstd: /usr/bin/makedumpfile 1.7.2 was built without it; it has none, zlib, lzo"
	if _, err := m.choose("zstd"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCollectors(t *testing.T) {
	for _, tt := range []struct {
		level    int
		compress string
		want     []string // name: arguments
	}{
		{31, "lzo", []string{
			"makedumpfile -l -d 31: /bin/makedumpfile -l -d 31 %vmcore %output",
			"makedumpfile -l -d 1: /bin/makedumpfile -l -d 1 %vmcore %output",
		}},
		{17, "zstd", []string{
			"makedumpfile -z -d 17: /bin/makedumpfile -z -d 17 %vmcore %output",
			"makedumpfile -z -d 1: /bin/makedumpfile -z -d 1 %vmcore %output",
		}},
		{1, "zlib", []string{"makedumpfile -c -d 1: /bin/makedumpfile -c -d 1 %vmcore %output"}},
		{0, "none", []string{"makedumpfile -d 0: /bin/makedumpfile -d 0 %vmcore %output"}},
		{2, "snappy", []string{
			"makedumpfile -p -d 2: /bin/makedumpfile -p -d 2 %vmcore %output",
			"makedumpfile -p -d 1: /bin/makedumpfile -p -d 1 %vmcore %output",
		}},
	} {
		list, err := new(makedumpfile).collectors(tt.level, tt.compress)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			got = append(got, c.Name+": "+strings.Join(c.Argv, " "))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d %s: got %q", tt.level, tt.compress, got)
		}
	}
	if _, err := new(makedumpfile).collectors(31, "lzma"); err == nil {
		t.Error("unknown compression: no error")
	}
}

func TestFindMakedumpfile(t *testing.T) {
	m := buildtest.New(t)
	m.Write("usr/sbin/makedumpfile/not-a-file", "")
	got, err := findMakedumpfile(openHost(t, m))
	if err != nil || got.path != "/usr/bin/makedumpfile" || got.version != "1.7.2" {
		t.Errorf("got %+v, %v", got, err)
	}
	m.Write("usr/bin/makedumpfile", "#!/bin/sh\n")
	if _, err := findMakedumpfile(openHost(t, m)); err == nil || !strings.HasPrefix(err.Error(), "/usr/bin/makedumpfile: it contains no version") {
		t.Errorf("a script: %v", err)
	}
}

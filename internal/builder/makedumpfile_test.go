package builder

import (
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
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
		if want := strings.Contains(tt.program, "-L"); m.limits != want {
			t.Errorf("%s: -L is %v", tt.name, m.limits)
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
	const copied = "copy: /init copy %limit %output: /init copy %limit, resumes"
	rung := func(options, limit, filters string) string {
		return "makedumpfile " + options + ": /bin/makedumpfile " + options + limit + " %vmcore %output: /bin/makedumpfile -F " + options + " %vmcore" + filters
	}
	for _, tt := range []struct {
		level    int
		compress string
		limits   bool
		want     []string // name: arguments: arguments for a raw device
	}{
		{31, "lzo", true, []string{
			rung("-l -d 31", " -L %limit", ", filters"), rung("-c -d 31", " -L %limit", ", filters"), rung("-l -d 1", " -L %limit", ""), copied,
		}},
		{17, "zstd", false, []string{rung("-z -d 17", "", ", filters"), rung("-c -d 17", "", ", filters"), rung("-z -d 1", "", ""), copied}},
		{1, "zlib", true, []string{rung("-c -d 1", " -L %limit", ""), copied}},
		{0, "none", false, []string{rung("-d 0", "", ""), copied}},
		{2, "none", false, []string{rung("-d 2", "", ", filters"), rung("-d 1", "", ""), copied}},
		{1, "snappy", false, []string{rung("-p -d 1", "", ""), rung("-c -d 1", "", ""), copied}},
	} {
		list, err := (&makedumpfile{limits: tt.limits}).collectors(tt.level, tt.compress)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			s := c.Name + ": " + strings.Join(c.Argv, " ") + ": " + strings.Join(c.Stream, " ")
			if c.Filters {
				s += ", filters"
			}
			if c.Resumes {
				s += ", resumes"
			}
			got = append(got, s)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d %s: got  %q\nwant %q", tt.level, tt.compress, got, tt.want)
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

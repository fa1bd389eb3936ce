package builder

import (
	"slices"
	"strings"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

func TestCollectors(t *testing.T) {
	const copied = "copy: /init copy %limit %output: /init copy %limit, resumes"
	rung := func(options, limit, filters string) string {
		return "makedumpfile " + options + ": /bin/makedumpfile " + options + limit + " %vmcore %output: /bin/makedumpfile -F " + options + " %vmcore" + filters
	}
	for _, tt := range []struct {
		level    int
		quick    int
		compress string
		limits   bool
		want     []string // name: arguments: arguments for a raw device
	}{
		{31, 31, "lzo", true, []string{
			rung("-l -d 31", " -L %limit", ", filters"), rung("-c -d 31", " -L %limit", ", filters"), rung("-l -d 1", " -L %limit", ""), copied,
		}},
		{17, 31, "zstd", false, []string{rung("-z -d 17", "", ", filters"), rung("-c -d 17", "", ", filters"), rung("-z -d 1", "", ""), copied, rung("-l -d 31", "", ", filters, quick")}},
		{1, 31, "zlib", true, []string{rung("-c -d 1", " -L %limit", ""), copied, rung("-l -d 31", " -L %limit", ", filters, quick")}},
		{23, 23, "lzo", false, []string{rung("-l -d 23", "", ", filters"), rung("-c -d 23", "", ", filters"), rung("-l -d 1", "", ""), copied}},
		{31, 31, "zlib", false, []string{rung("-c -d 31", "", ", filters"), rung("-c -d 1", "", ""), copied, rung("-l -d 31", "", ", filters, quick")}},
		{31, 31, "snappy", false, []string{rung("-p -d 31", "", ", filters"), rung("-c -d 31", "", ", filters"), rung("-p -d 1", "", ""), copied}},
		{0, 23, "none", false, []string{rung("-d 0", "", ""), copied, rung("-d 23", "", ", filters, quick")}},
		{2, 31, "none", false, []string{rung("-d 2", "", ", filters"), rung("-d 1", "", ""), copied, rung("-d 31", "", ", filters, quick")}},
		{1, 31, "snappy", false, []string{rung("-p -d 1", "", ""), rung("-c -d 1", "", ""), copied, rung("-p -d 31", "", ", filters, quick")}},
	} {
		list, err := collectors(&makedumpfile.Program{Limits: tt.limits, Compressions: []string{"none", "zlib", "lzo"}}, tt.level, tt.quick, tt.compress)
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
			if c.Quick {
				s += ", quick"
			}
			got = append(got, s)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d %s: got  %q\nwant %q", tt.level, tt.compress, got, tt.want)
		}
	}
	if _, err := collectors(new(makedumpfile.Program), 31, 31, "lzma"); err == nil {
		t.Error("unknown compression: no error")
	}
}

func TestFindMakedumpfile(t *testing.T) {
	m := buildtest.New(t)
	m.Write("usr/sbin/makedumpfile/not-a-file", "")
	got, err := findMakedumpfile(openHost(t, m))
	if err != nil || got.Path != "/usr/bin/makedumpfile" || got.Version != "1.7.2" {
		t.Errorf("got %+v, %v", got, err)
	}
	program := m.Read("usr/bin/makedumpfile")
	for _, tt := range []struct{ name, file, want, advice string }{
		{"script", "#!/bin/sh\nexec /opt/makedumpfile \"$@\"\n", "/usr/bin/makedumpfile: a script, not makedumpfile", "Copy the program that the script starts"},
		{"script with the version", "#!/usr/bin/env bash\n# makedumpfile 1.7.2\n", "/usr/bin/makedumpfile: a script, not makedumpfile", "Copy the program that the script starts"},
		{"program that starts it", "\x7fELF wrapper", "/usr/bin/makedumpfile: not makedumpfile: no version found in the file", "Install makedumpfile again"},
		{"empty", "", "/usr/bin/makedumpfile: not makedumpfile: no version found in the file", "Install makedumpfile again"},
	} {
		m.Write("usr/bin/makedumpfile", tt.file)
		_, err := findMakedumpfile(openHost(t, m))
		if err == nil || err.Error() != tt.want || !strings.HasPrefix(advice.For(err), tt.advice) {
			t.Errorf("%s: %v: %s", tt.name, err, advice.For(err))
		}
		m.Write("usr/local/sbin/makedumpfile", program)
		if got, err := findMakedumpfile(openHost(t, m)); err != nil || got.Path != "/usr/local/sbin/makedumpfile" {
			t.Errorf("%s, and the program: %+v, %v", tt.name, got, err)
		}
		m.Remove("usr/local/sbin/makedumpfile")
	}
}

// On arm64 every makedumpfile of the ladder can get a corrected VMCOREINFO.
func TestWithInfo(t *testing.T) {
	m := &makedumpfile.Program{Limits: true}
	lzo, _ := makedumpfile.Options("lzo")
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{collector(m, 31, lzo).Argv, "/bin/makedumpfile %vmcoreinfo -l -d 31 -L %limit %vmcore %output"},
		{collector(m, 31, lzo).Stream, "/bin/makedumpfile %vmcoreinfo -F -l -d 31 %vmcore"},
		{compressor(m, 31, "lzo", 2).Argv, "/bin/ukdump-compress -c lzo -j 2 -r %vmcore -o %output -x /bin/makedumpfile %vmcoreinfo -F -d 31 %vmcore"},
		{plan.CopyArgv, strings.Join(plan.CopyArgv, " ")},
		{nil, ""},
	} {
		if got := strings.Join(withInfo(tt.argv), " "); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

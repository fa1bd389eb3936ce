package builder

import (
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/host"
)

const interp = "/lib64/ld-linux-x86-64.so.2"

// needs is a program or library that needs others.
func needs(names ...string) string {
	return string(buildtest.ELF{Interp: interp, Needed: names}.Bytes())
}

func openHost(t *testing.T, m *buildtest.Machine) *host.Host {
	t.Helper()
	h, err := host.Open(m.Root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestClosure(t *testing.T) {
	const program, lib = "usr/bin/makedumpfile", "usr/lib/x86_64-linux-gnu/"
	arm := buildtest.ELF{Machine: elf.EM_AARCH64}
	for _, tt := range []struct {
		name   string
		change func(m *buildtest.Machine)
		want   []string // name: path
		err    string   // part of it
	}{
		{"as installed", func(m *buildtest.Machine) {},
			[]string{"libc.so.6: /" + lib + "libc.so.6", "libgcc_s.so.1: /" + lib + "libgcc_s.so.1", "libz.so.1: /" + lib + "libz.so.1"}, ""},
		{"without libgcc", func(m *buildtest.Machine) { m.Remove(lib + "libgcc_s.so.1") },
			[]string{"libc.so.6: /" + lib + "libc.so.6", "libz.so.1: /" + lib + "libz.so.1"}, ""},
		{"static", func(m *buildtest.Machine) { m.Write(program, string(buildtest.ELF{}.Bytes())) }, nil, ""},
		{"through others, in a circle", func(m *buildtest.Machine) {
			m.Remove(lib + "libgcc_s.so.1")
			m.Write(program, needs("liba.so"))
			m.Write(lib+"liba.so", needs("libb.so"))
			m.Write(lib+"libb.so", needs("liba.so", "libc.so.6"))
		}, []string{"liba.so: /" + lib + "liba.so", "libb.so: /" + lib + "libb.so", "libc.so.6: /" + lib + "libc.so.6"}, ""},
		{"ld.so.conf with includes", func(m *buildtest.Machine) {
			m.Remove(lib + "libgcc_s.so.1")
			m.Write(program, needs("liba.so", "libb.so", "libc.so.6"))
			m.Write("etc/ld.so.conf", "# comment\n\ninclude ld.so.conf.d/*.conf /etc/none/*.conf\n/opt/b # more\nrelative\n")
			m.Write("etc/ld.so.conf.d/1.conf", "/opt/a\n")
			m.Write("etc/ld.so.conf.d/2.conf", "include /etc/ld.so.conf\n") // for ever
			m.Write("etc/ld.so.conf.d/3.txt", "/opt/c\n")
			m.Write("opt/a/liba.so", needs())
			m.Write("opt/b/liba.so", needs())
			m.Write("opt/b/libb.so", needs())
			m.Write("opt/b/libc.so.6", needs()) // before the trusted directories
		}, []string{"liba.so: /opt/a/liba.so", "libb.so: /opt/b/libb.so", "libc.so.6: /opt/b/libc.so.6"}, ""},
		{"RUNPATH with $ORIGIN", func(m *buildtest.Machine) {
			m.Remove(lib + "libgcc_s.so.1")
			m.Write(program, string(buildtest.ELF{Interp: interp, Needed: []string{"liba.so", "libb.so", "libc.so.6"},
				Runpath: "$ORIGIN/../x:relative:${ORIGIN}/y"}.Bytes()))
			m.Write("usr/x/liba.so", needs())
			m.Write("usr/bin/y/libb.so", needs())
			m.Write("usr/bin/relative/libc.so.6", needs())
		}, []string{"liba.so: /usr/x/liba.so", "libb.so: /usr/bin/y/libb.so", "libc.so.6: /" + lib + "libc.so.6"}, ""},
		{"RUNPATH is for the file itself", func(m *buildtest.Machine) {
			m.Write(program, string(buildtest.ELF{Interp: interp, Needed: []string{"liba.so"}, Runpath: "/x"}.Bytes()))
			m.Write("x/liba.so", needs("libb.so"))
			m.Write("x/libb.so", needs())
		}, nil, "library libb.so: needed by /x/liba.so: not found in "},
		{"another machine's is skipped", func(m *buildtest.Machine) {
			m.Remove(lib + "libgcc_s.so.1")
			m.Write("etc/ld.so.conf", "/arm\n")
			m.Write("arm/libc.so.6", string(arm.Bytes()))
			m.Write("arm/libz.so.1", "not ELF")
		}, []string{"libc.so.6: /" + lib + "libc.so.6", "libz.so.1: /" + lib + "libz.so.1"}, ""},
		{"absolute links stay inside the root", func(m *buildtest.Machine) {
			m.Remove(lib + "libgcc_s.so.1")
			m.Remove(lib + "libz.so.1")
			m.Link(lib+"libz.so.1", "/../../opt/z/libz.so.1.2.13")
			m.Write("opt/z/libz.so.1.2.13", needs("libc.so.6"))
		}, []string{"libc.so.6: /" + lib + "libc.so.6", "libz.so.1: /" + lib + "libz.so.1"}, ""},
		{"missing", func(m *buildtest.Machine) { m.Remove(lib + "libz.so.1") }, nil,
			"library libz.so.1: needed by /usr/bin/makedumpfile: not found in /lib64 /usr/lib64 "},
		{"missing for a library", func(m *buildtest.Machine) { m.Write(lib+"libz.so.1", needs("libx.so.2")) }, nil,
			"library libx.so.2: needed by /" + lib + "libz.so.1: not found in "},
		{"only another machine's", func(m *buildtest.Machine) { m.Write(lib+"libz.so.1", string(arm.Bytes())) }, nil, "library libz.so.1: "},
		{"a path", func(m *buildtest.Machine) { // of which PID 1 could make no name below lib/
			m.Write(program, needs("x/libz.so"))
			m.Write(lib+"x/libz.so", needs())
		}, nil, "library x/libz.so: "},
		{"a script", func(m *buildtest.Machine) { m.Write(program, "#!/bin/sh\n") }, nil, "/usr/bin/makedumpfile: not a program: "},
		{"of another architecture", func(m *buildtest.Machine) { m.Write(program, string(arm.Bytes())) }, nil,
			"/usr/bin/makedumpfile: built for EM_AARCH64, the kernel needs EM_X86_64"},
		{"without end", func(m *buildtest.Machine) {
			m.Write(program, needs("lib0.so"))
			for i := range maxLibraries + 1 {
				m.Write(fmt.Sprintf("%slib%d.so", lib, i), needs(fmt.Sprintf("lib%d.so", i+1)))
			}
		}, nil, "needs more than 200 libraries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := buildtest.New(t)
			tt.change(m)
			gotInterp, libs, err := newLinker(openHost(t, m)).closure("/"+program, "amd64")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				if missing := (*MissingLibraryError)(nil); strings.HasPrefix(tt.err, "library ") && (!errors.As(err, &missing) || missing.Advice() == "") {
					t.Errorf("%T is no *MissingLibraryError with advice", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (gotInterp == interp) != (len(tt.want) > 0) {
				t.Errorf("interpreter %q", gotInterp)
			}
			var got []string
			for _, l := range libs {
				got = append(got, l.name+": "+l.path)
				if l.why == "" {
					t.Errorf("%s: no reason", l.name)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

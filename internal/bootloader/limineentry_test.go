package bootloader

import (
	"maps"
	"strings"
	"testing"
)

// entryToolMachine has Limine with an entry of limine-entry-tool and one written by hand.
func entryToolMachine(files map[string]string) map[string]string {
	machine := map[string]string{
		"/usr/bin/limine-update": "",
		"/boot/EFI/Linux/":       "",
		"/boot/limine.conf": "/+Linux\n  //linux\n  comment: kernel-id=linux\n  protocol: linux\n  cmdline: quiet\n" +
			"/Mine\nprotocol: linux\ncmdline: a\n",
	}
	maps.Copy(machine, files)
	return machine
}

func TestEntryTool(t *testing.T) {
	words := func(s string) string { return strings.ReplaceAll(s, "CK", strings.Join(setCrash.Words, " ")) }
	const (
		def  = "/etc/default/limine"
		drop = "/etc/limine-entry-tool.d/a.conf"
	)
	for _, c := range []struct {
		name        string
		files, want map[string]string
	}{
		{"one line",
			map[string]string{def: "ESP_PATH=\"/boot\"\n# KERNEL_CMDLINE[default]=\"x\"\nKERNEL_CMDLINE[default]+=\"quiet rw\"\nBOOT_ORDER=\"*\"\n"},
			map[string]string{def: "ESP_PATH=\"/boot\"\n# KERNEL_CMDLINE[default]=\"x\"\nKERNEL_CMDLINE[default]+=\"quiet rw CK\"\nBOOT_ORDER=\"*\"\n"}},
		{"without brackets, quotes, line end",
			map[string]string{def: "KERNEL_CMDLINE = rw quiet"},
			map[string]string{def: "KERNEL_CMDLINE = rw quiet CK"}},
		{"space at the start stays",
			map[string]string{def: "KERNEL_CMDLINE[default]+=\" quiet\"\r\nA=b\r\n"},
			map[string]string{def: "KERNEL_CMDLINE[default]+=\" quiet CK\"\r\nA=b\r\n"}},
		{"a word with quotes",
			map[string]string{def: `KERNEL_CMDLINE[default]="dyndbg="file a.c +p" rw"` + "\n"},
			map[string]string{def: `KERNEL_CMDLINE[default]="dyndbg="file a.c +p" rw CK"` + "\n"}},
		{"several kernels",
			map[string]string{def: "KERNEL_CMDLINE[default]=\"a\"\nKERNEL_CMDLINE[\"linux-lts\"]=\"b\"\nKERNEL_CMDLINE[fallback]=\"c\"\n"},
			map[string]string{def: "KERNEL_CMDLINE[default]=\"a CK\"\nKERNEL_CMDLINE[\"linux-lts\"]=\"b CK\"\nKERNEL_CMDLINE[fallback]=\"c CK\"\n"}},
		{"the last line of several",
			map[string]string{def: "KERNEL_CMDLINE[default]+=\"a\"\nKERNEL_CMDLINE[default]+=\" b\"\n", drop: "KERNEL_CMDLINE[default]+=\"z\"\n"},
			map[string]string{def: "KERNEL_CMDLINE[default]+=\"a\"\nKERNEL_CMDLINE[default]+=\" b CK\"\n"}},
		{"of a package only",
			map[string]string{"/usr/share/limine-entry-tool.d/x.conf": "KERNEL_CMDLINE[default]=\"a\"\n", def: "ESP_PATH=/boot\n"},
			map[string]string{def: "ESP_PATH=/boot\nKERNEL_CMDLINE[default]+=\" CK\"\n"}},
		{"empty, so of the kernel's file",
			map[string]string{def: "KERNEL_CMDLINE=\n", "/etc/kernel/cmdline": "root=/dev/a rw\n"},
			map[string]string{"/etc/kernel/cmdline": "root=/dev/a rw CK\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string]string{"/boot/limine.conf": words(strings.Replace(entryToolMachine(nil)["/boot/limine.conf"], "cmdline: a", "cmdline: a CK", 1))}
			for name, text := range c.want {
				want[name] = words(text)
			}
			roundTrip(t, limine{}, entryToolMachine(c.files), want)
		})
	}
}

func TestEntryToolMoves(t *testing.T) {
	words := strings.Join(setCrash.Words, " ")
	s := tree(t, entryToolMachine(map[string]string{
		"/etc/limine-entry-tool.d/a.conf":       "KERNEL_CMDLINE[default]+=\" crashkernel=1M\"\nKERNEL_CMDLINE[default]+=\" z\"\n",
		"/usr/share/limine-entry-tool.d/b.conf": "KERNEL_CMDLINE[default]+=\" crashkernel=2M\"\n",
		"/etc/default/limine":                   "KERNEL_CMDLINE[default]+=\" a\"\nKERNEL_CMDLINE[default]+=\" crashkernel=3M b\"\nKERNEL_CMDLINE[linux]=\"c\"\n",
	}))
	p := plan(t, limine{}, s, setCrash)
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "/usr/share/limine-entry-tool.d/b.conf sets crashkernel, too") {
		t.Errorf("got notes %q", p.Notes)
	}
	if len(p.Commands) != 1 || p.Commands[0].Args[0] != "/usr/bin/limine-update" || p.Commands[0].Writes[0] != "/boot/limine.conf" {
		t.Errorf("got commands %+v", p.Commands)
	}
	got := apply(t, limine{}, s, setCrash)
	delete(got, "/boot/limine.conf")
	compareFiles(t, got, map[string]string{
		"/etc/limine-entry-tool.d/a.conf": "KERNEL_CMDLINE[default]+=\" z\"\n",
		"/etc/default/limine":             "KERNEL_CMDLINE[default]+=\" a\"\nKERNEL_CMDLINE[default]+=\" " + words + " b\"\nKERNEL_CMDLINE[linux]=\"c " + words + "\"\n",
	})
}

func TestEntryToolRemove(t *testing.T) {
	s := tree(t, entryToolMachine(map[string]string{"/etc/default/limine": "KERNEL_CMDLINE[b]+=\"crashkernel=1M\"\nKERNEL_CMDLINE[a]+=\" crashkernel=1M\"\n" +
		"KERNEL_CMDLINE[b]+=\"x\"\nKERNEL_CMDLINE[a]=\"y crashkernel=2M\""}))
	compareFiles(t, apply(t, limine{}, s, removeCrash), map[string]string{"/etc/default/limine": "KERNEL_CMDLINE[a]+=\" crashkernel=1M\"\nKERNEL_CMDLINE[b]+=\"x\"\nKERNEL_CMDLINE[a]=\"y\""})
}

func TestEntryToolReplaced(t *testing.T) {
	// A later = makes the lines before it void: they stay.
	s := tree(t, entryToolMachine(map[string]string{
		"/etc/limine-entry-tool.conf": "KERNEL_CMDLINE[default]+=\"crashkernel=1M\"\n",
		"/etc/default/limine":         "KERNEL_CMDLINE[default]=\"a\"",
	}))
	got := apply(t, limine{}, s, setCrash)
	delete(got, "/boot/limine.conf")
	compareFiles(t, got, map[string]string{"/etc/default/limine": "KERNEL_CMDLINE[default]=\"a " + strings.Join(setCrash.Words, " ") + "\""})
}

func TestEntryToolWithoutCmdline(t *testing.T) {
	s := tree(t, entryToolMachine(map[string]string{"/proc/cmdline": "root=/dev/a rw\n"}))
	p, err := limine{}.Plan(s, setCrash)
	if err != nil || len(p.Files) > 0 || !strings.HasSuffix(p.Manual, "\nKERNEL_CMDLINE[default]=\"root=/dev/a rw crashkernel=512M,high crashkernel=64M,low\"") {
		t.Errorf("got %+v, %v", p, err)
	}
}

func FuzzEntryTool(f *testing.F) {
	f.Add("KERNEL_CMDLINE[default]+=\" a\"\nKERNEL_CMDLINE[b] = \"crashkernel=1M\"\r\nKERNEL_CMDLINE=\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		edit := func(text string) string {
			file := newTextFile("/etc/default/limine", []byte(text))
			values := entryToolValues(file)
			editEntryTool(setCrash, values)
			return string(file.content())
		}
		once := edit(text)
		if twice := edit(once); twice != once {
			t.Fatalf("%q: %q, then %q", text, once, twice)
		}
	})
}

package bootloader

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestShellValues(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{`A=quiet`, "A=quiet"},
		{`A="quiet splash"`, "A=quiet splash"},
		{`A='a"b$c'`, `A=a"b$c`},
		{`A="a\"b\$c\d"`, `A=a"b$c\d`},
		{`A=a\ b'c d'"e f"`, "A=a bc de f"},
		{"A=\"a \\\nb\"", "A=a b"},
		{"A=\"a\nb\"\nB=1", "A=a\nb B=1"},
		{"A=1 # comment \" '\n#B=2\nC=a#b", "A=1 C=a#b"},
		{"A=1; B=2;C=\"$A$B\"", "A=1 B=2 C=12"},
		{"A=1 B=2", "A=1 B=2"},
		{`export A="1"`, "A=1"},
		{"A=1\nA=\"${A} 2\"\nA+=\" 3\"", "A=1 2 3"},
		{"A=1\nA='$A'", "A=$A"},
		{"A=`lsb_release -i 2>/dev/null || echo \"Debian\"`\nB=1", "A=\x01 B=1"},
		{`A="$(echo ")" '(' $(ls))x" B=${C:-"}"} D=$((1+2))`, "A=\x01x B=\x01 D=\x01"},
		{"if true; then A=1; fi\nB=1", "B=1"},
		{"if true\nthen A=1\nelse A=2\nfi; B=1", "B=1"},
		{"for i in 1 2; do A=$i; done; B=1", "B=1"},
		{"case $x in (a) A=1;; b) A=2;; esac; B=1", "B=1"},
		{"f() { A=1; }\nB=1", "B=1"},
		{"(A=1)\nB=1", "B=1"},
		{"true && A=1\nfalse || A=2; B=1", "B=1"},
		{"A=1 | cat\nA=2 & B=1", "B=1"},
		{"A=1 command x; B=1", "B=1"},
		{"A=1 >/dev/null; B=1", "B=1"},
		{"PRESETS=('default' \"fallback\") B=1", "B=1 PRESETS="},
		{`KERNEL_CMDLINE[default]+="quiet"`, "KERNEL_CMDLINE[default]=quiet"},
		{`A="cost $ 5"`, "A=cost $ 5"},
		{"A=\xff\xfe", "A=\xff\xfe"},
		{"", ""},
	} {
		f, err := parseShell("f", []byte(c.script))
		if err != nil {
			t.Errorf("%q: %v", c.script, err)
			continue
		}
		env := make(map[string]string)
		f.expand(env)
		var got []string
		for _, name := range slices.Sorted(maps.Keys(env)) {
			got = append(got, name+"="+env[name])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.script, got, c.want)
		}
	}
}

func TestShellErrors(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"A=1\nB=\"x\n\n", `f:2: a quote (") that is not closed`},
		{"A='x", `f:1: a quote (') that is not closed`},
		{"A=`x", "f:1: a quote (`) that is not closed"},
		{"\nA=$(x", "f:2: an expansion ($) that is not closed"},
		{"A=${x", "f:1: an expansion ($) that is not closed"},
		{"A=(x", "f:1: a parenthesis that is not closed"},
		{"cat <<EOF\nA=1\nEOF\n", "f:1: a here-document is not supported"},
		{"A=1\nB=\\", "f:2: a backslash at the end of the file"},
		{"A=$B\\\nC", "f:1: a variable's name that goes on in the next line is not supported"},
		{`A=$'\n'`, "f:1: $'…' is not supported"},
		{"A=" + strings.Repeat("$(", 60), "f:1: more than 50 nested expansions"},
		{"\xef\xbb\xbfA=1", "f:1: a byte order mark, which a shell takes for a command"},
		{"A=1\nB=1\r\n", "f:2: a carriage return, which a shell takes as a part of the value"},
		{"A=1\nif x; then\nA=\"$A b\"; fi", "f:3: A is set in a way that ukdump does not understand"},
		{": ${A:=1}", "f:1: A is set in a way that ukdump does not understand"},
		{"unset B A", "f:1: A is set in a way that ukdump does not understand"},
		{"A=(1 2)", "f:1: A is an array, which ukdump does not change"},
		{"if [ \"$A\" = 1 ]; then BA=1; fi; echo $A", "<nil>"},
	} {
		f, err := parseShell("f", []byte(c.script))
		if err == nil {
			err = f.understood("A")
		}
		if fmt.Sprint(err) != c.want {
			t.Errorf("%q:\n got %v\nwant %s", c.script, err, c.want)
		}
	}
}

func TestShellEdit(t *testing.T) {
	set := Edit{Name: "crashkernel", Words: []string{"crashkernel=512M,high", "crashkernel=64M,low"}}
	const words = "crashkernel=512M,high crashkernel=64M,low"
	for _, c := range []struct{ script, want string }{
		{`A="quiet"`, `A="quiet ` + words + `"`},
		{`A='quiet'  # x`, `A='quiet ` + words + `'  # x`},
		{`A=""`, `A="` + words + `"`},
		{`A=`, `A=crashkernel=512M,high\ crashkernel=64M,low`},
		{`A=quiet`, `A=quiet\ crashkernel=512M,high\ crashkernel=64M,low`},
		{`A="$A"`, `A="$A ` + words + `"`},
		{`A="$A"`, `A="$A ` + words + `"`},
		{`A="${A} more"`, `A="${A} more ` + words + `"`},
		{`A+=" more"`, `A+=" more ` + words + `"`},
		{"A=\"a \\\n  crashkernel=1M \\\n  b\"", "A=\"a \\\n  " + words + " \\\n  b\""},
		{`A="a crashkernel=$SIZE b"`, `A="a ` + words + ` b"`},
		{`A=a\ crash'kernel=1'M" b"`, `A=a\ crashkernel=512M,high\ crashkernel=64M,low''" b"`},
		{`A="crashkernel=1M crashkernel=2M,low a"`, `A="` + words + ` a"`},
		{`A="dyndbg=\"file a +p\" b"`, `A="dyndbg=\"file a +p\" b ` + words + `"`},
		{`A="a -- b"`, `A="a ` + words + ` -- b"`},
	} {
		f, err := parseShell("f", []byte(c.script))
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.edit(set, 0)
		if err != nil || string(got) != c.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", c.script, got, err, c.want)
		}
	}
}

// A line of 1 MiB is read and edited.
func TestShellLongLine(t *testing.T) {
	text := "A=\"" + strings.Repeat("word ", 1<<20/5)
	f, err := parseShell("f", []byte(text+"\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.edit(Edit{Name: "crashkernel", Words: []string{"crashkernel=1M"}}, 0)
	if want := text + " crashkernel=1M\"\n"; err != nil || string(got) != want {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestShellAdded(t *testing.T) {
	for _, c := range []struct{ before, after string }{
		{"", "# Added by kdumpctl setup.\nA=\"crashkernel=1M\"\n"},
		{"B=1\n", "B=1\n# Added by kdumpctl setup.\nA=\"crashkernel=1M\"\n"},
		{"B=1", "B=1\n# Added by kdumpctl setup.\nA=\"crashkernel=1M\""},
	} {
		f, err := parseShell("f", []byte(c.before))
		if err != nil {
			t.Fatal(err)
		}
		after := f.with("A", "crashkernel=1M")
		if string(after) != c.after {
			t.Errorf("%q: got %q", c.before, after)
		}
		if f, err = parseShell("f", after); err != nil {
			t.Fatal(err)
		}
		back, err := f.edit(Edit{Name: "crashkernel"}, f.last("A"))
		if err != nil || string(back) != c.before {
			t.Errorf("%q: back to %q, %v", c.before, back, err)
		}
	}
}

func TestEditRefusesQuotes(t *testing.T) {
	f, err := parseShell("f", []byte("A=1\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"", `crashkernel="1M`, "crashkernel=$x", "crashkernel=1M x", "crashkernel=ä", "quiet"} {
		if data, err := f.edit(Edit{Name: "crashkernel", Words: []string{w}}, 0); err == nil {
			t.Errorf("%q: got %q", w, data)
		}
	}
}

// A value in random quotes means the same to the shell and to us, before and after edits.
func TestShellAgrees(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	set := Edit{Name: "crashkernel", Words: []string{"crashkernel=1G-:256M,high", "crashkernel=64M,low"}}
	var script, want bytes.Buffer
	for i := range 100 {
		// $V has no blanks and B is not set.
		text := "V=v; A=" + randomValue(r) + "\n"
		f, err := parseShell("f", []byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		data, err := f.edit(set, 1)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		back, err := parseShell("f", data)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		for _, f := range []*shellFile{f, back} {
			file := filepath.Join(dir, fmt.Sprintf("%d-%d", i, len(f.data)))
			if err := os.WriteFile(file, f.data, 0o600); err != nil {
				t.Fatal(err)
			}
			env := make(map[string]string)
			f.expand(env)
			fmt.Fprintf(&script, ". %s; printf '%%s\\0' \"$A\"\n", file)
			fmt.Fprintf(&want, "%s\x00", env["A"])
		}
	}
	cmd := exec.Command(sh)
	cmd.Stdin = &script
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(string(got), "\x00"), strings.Split(want.String(), "\x00")
	for i := range w {
		if i >= len(g) || g[i] != w[i] {
			t.Fatalf("value %d: the shell has %q, we have %q", i, g[min(i, len(g)-1)], w[i])
		}
	}
}

// randomValue is a value of random pieces, each in random quotes.
func randomValue(r *rand.Rand) string {
	pieces := []string{"quiet", " ", "  ", "crashkernel=1M", "crashkernel=2M,low", "x\\ny", "a\"b", "'", "$", "--", "#", "\\", "é", "`", "&;|", "dyndbg=\"a b\""}
	var b strings.Builder
	for range r.IntN(7) {
		p := pieces[r.IntN(len(pieces))]
		switch r.IntN(4) {
		case 0:
			b.WriteString("'" + strings.ReplaceAll(p, "'", `'\''`) + "'")
		case 1:
			for i := range len(p) { // each byte escaped
				b.WriteString(`\` + p[i:i+1])
			}
		case 2:
			b.WriteString(`"${V}` + "\\\n" + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(p) + `"${V}`)
		default:
			b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(p) + `"`)
		}
	}
	return b.String()
}

func FuzzShell(f *testing.F) {
	f.Add([]byte("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\" # x\nexport B='a'\\\n\"$GRUB\"\n"))
	f.Add([]byte("if x; then A=`a`; fi; A=$(b)\nA+=(1 2)\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseShell("f", data)
		if err != nil {
			return
		}
		s.expand(make(map[string]string))
		e := Edit{Name: "crashkernel", Words: []string{"crashkernel=8M"}}
		for i, a := range s.vars {
			got, err := s.edit(e, i)
			if err != nil || len(Of(a.text(), e.Name)) > 0 || a.array {
				continue
			}
			again, err := parseShell("f", got)
			if err != nil {
				t.Fatal(err)
			}
			back, err := again.edit(Edit{Name: e.Name}, i)
			if _, own := s.added(&a); err != nil || !own && !bytes.Equal(back, data) {
				t.Fatalf("%q: %q, and back %q, %v", data, got, back, err)
			}
		}
	})
}

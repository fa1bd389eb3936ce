package bootloader

import (
	"slices"
	"testing"
)

func TestApply(t *testing.T) {
	set := Edit{Name: "crashkernel", Words: []string{"crashkernel=512M,high", "crashkernel=64M,low"}}
	none := Edit{Name: "crashkernel"}
	for _, c := range []struct {
		edit       Edit
		line, want string
	}{
		{set, "", "crashkernel=512M,high crashkernel=64M,low"},
		{set, "quiet  splash", "quiet  splash crashkernel=512M,high crashkernel=64M,low"},
		{set, "a crashkernel=1M b crashkernel=2M,low c", "a crashkernel=512M,high crashkernel=64M,low b c"},
		{set, "crashkernel=512M,high   crashkernel=64M,low", "crashkernel=512M,high   crashkernel=64M,low"},
		{set, `dyndbg="file a.c +p" crashkernel=auto`, `dyndbg="file a.c +p" crashkernel=512M,high crashkernel=64M,low`},
		{set, `"dyndbg=file crashkernel=1M" x`, `"dyndbg=file crashkernel=1M" x crashkernel=512M,high crashkernel=64M,low`},
		{set, "ro -- crashkernel=1M", "ro crashkernel=512M,high crashkernel=64M,low -- crashkernel=1M"},
		{set, "crashkernel", "crashkernel=512M,high crashkernel=64M,low"},
		{set, `"crashkernel=1M"`, "crashkernel=512M,high crashkernel=64M,low"},
		{set, "crashkernels=1 xcrashkernel=2", "crashkernels=1 xcrashkernel=2 crashkernel=512M,high crashkernel=64M,low"},
		{none, "a crashkernel=1M b", "a b"},
		{none, "a  b", "a  b"},
		{none, "crashkernel=1M", ""},
		{none, "crashkernel=1M crashkernel=2M a  b crashkernel=3M", "a  b"},
		{none, " crashkernel=1M\tb ", "\tb "},
		{set, "a crashkernel=512M,high b crashkernel=64M,low", "a crashkernel=512M,high b crashkernel=64M,low"},
		{none, `a "unclosed crashkernel=1M`, `a "unclosed crashkernel=1M`},
		{set, `a "unclosed`, `a crashkernel=512M,high crashkernel=64M,low "unclosed`},
		{Edit{Name: "nmi-watchdog", Words: []string{"nmi_watchdog=1"}}, "nmi_watchdog=0 a", "nmi_watchdog=1 a"},
	} {
		if got := c.edit.Apply(c.line); got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.line, got, c.want)
		}
	}
}

// Whatever the line: the edit is in it afterwards, once, and nothing else is lost.
func FuzzApply(f *testing.F) {
	f.Add(`ro "a b" crashkernel=1M -- x`)
	f.Add("a\tb\vcrashkernel=1")
	f.Fuzz(func(t *testing.T, line string) {
		e := Edit{Name: "crashkernel", Words: []string{"crashkernel=8M"}}
		got := e.Apply(line)
		if again := e.Apply(got); again != got {
			t.Fatalf("%q: %q, then %q", line, got, again)
		}
		if !slices.Contains(Of(got, e.Name), e.Words[0]) {
			t.Fatalf("%q: not in %q", line, got)
		}
		other := func(l string) []string {
			return slices.DeleteFunc(Words(l), func(w string) bool { return parameter(w) == "crashkernel" })
		}
		if a, b := other(line), other(got); !slices.Equal(a, b) {
			t.Fatalf("%q: %q has become %q", line, a, b)
		}
		if len(Of(line, e.Name)) == 0 {
			if back := (Edit{Name: e.Name}).Apply(got); back != line {
				t.Fatalf("%q: %q, and back %q", line, got, back)
			}
		}
	})
}

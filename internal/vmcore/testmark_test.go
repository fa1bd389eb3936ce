package vmcore

import (
	"strings"
	"testing"
)

func TestFindTest(t *testing.T) {
	const token = "0123456789abcdef"
	mark := "[   42.000001] " + TestMark(token) + "\n"
	const (
		crash = "[   42.000100] sysrq: Trigger a crash\n[   42.000200] Kernel panic - not syncing: sysrq triggered crash\n[   42.1] CPU: 0 PID: 1\n"
		old   = "[   42.000100] SysRq : Trigger a crash\n[   42.000200] BUG: unable to handle kernel NULL pointer dereference at (null)\n"
		oops  = "[   42.000100] BUG: kernel NULL pointer dereference, address: 0000000000000000\n[   42.2] Kernel panic - not syncing: Fatal exception\n"
	)
	for name, c := range map[string]struct{ log, want string }{
		"a test":                       {"[    0.0] Linux version 6.1\n" + mark + crash, token},
		"others write in between":      {mark + "[   42.00005] systemd-shutdown[1]: bye\n" + crash, token},
		"a crash on request":           {crash, ""},
		"an oops before the crash":     {mark + oops, ""},
		"nothing behind it":            {mark, ""},
		"not even a newline":           {strings.TrimSuffix(mark, "\n"), ""},
		"cut":                          {"[ 1.0] ukdump: test", ""},
		"no token":                     {"[    1.000000] " + TestMark("") + "\n" + crash, ""},
		"another mark follows":         {mark + "[   43.000000] ukdump: test ffff requested\n" + crash, ""},
		"a token with other letters":   {"[    1.000000] " + TestMark("a\x1b[2Jb") + "\n" + crash, ""},
		"a token that is too long":     {"[    1.000000] " + TestMark(strings.Repeat("a", 65)) + "\n" + crash, ""},
		"the second test counts":       {"[    1.000000] " + TestMark("aaaa") + "\n" + mark + crash, token},
		"a warning before it":          {"[ 41.9] WARNING: CPU: 0 PID: 1 at a.c:1\n" + mark + crash, token},
		"an oops long before the test": {oops + mark + crash, token},
	} {
		if got := FindTest([]byte(c.log)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := FindTest([]byte(mark + old)); got != token {
		t.Errorf("before Linux 4.20: %q", got)
	}
}

func FuzzFindTest(f *testing.F) {
	f.Add("[    1.000000] "+TestMark("ab")+"\n", "[ 1.0] sysrq: Trigger a crash\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		token := FindTest([]byte(a + b))
		if len(token) > MaxTestToken || strings.ContainsFunc(token, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
			t.Errorf("%q", token)
		}
	})
}

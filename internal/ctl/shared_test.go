package ctl

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// load and verify say who else may write to the directory of the dumps. An ordinary
// directory is not worth a word.
func TestShared(t *testing.T) {
	const (
		fill   = "may write to /var/crash: they cannot change dumps, but can fill its file system"
		remove = "may write to /var/crash: they can remove dumps, and collect refuses it"
	)
	for name, tt := range map[string]struct {
		mode      fs.FileMode
		gid       int
		said      string
		isWarning bool
	}{
		"ordinary":               {0o755, 0, "", false},
		"private":                {0o700, 0, "", false},
		"apport":                 {0o777 | fs.ModeSticky, 0, "everyone " + fill, false},
		"apport and whoopsie":    {0o777 | fs.ModeSticky | fs.ModeSetgid, 116, "everyone " + fill, false},
		"without the sticky bit": {0o777, 0, "everyone " + remove, true},
		"a group":                {0o770, 4242, "group 4242 " + remove, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.Write("proc/meminfo", "MemTotal: 1900000 kB\nMemFree: 1700000 kB\n")
			dir := m.Root + "/var/crash"
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, 0, tt.gid); err != nil {
				t.Skip(err)
			}
			if err := os.Chmod(dir, tt.mode); err != nil {
				t.Fatal(err)
			}
			load := m.kdumpctl("load")
			if tt.said == "" && strings.Contains(load.stdout+load.stderr, "may write") {
				t.Errorf("load says %+v", load)
			}
			if warned := strings.Contains(load.stderr, "kdumpctl: warning: "+tt.said+"\n"); tt.said != "" && warned != tt.isWarning {
				t.Errorf("load says %+v", load)
			}
			if told := strings.Contains(load.stdout, "\n"+tt.said+"\n"); tt.said != "" && told == tt.isWarning {
				t.Errorf("load says %+v", load)
			}
			verify := m.kdumpctl("verify")
			if strings.Contains(verify.stdout, "may write") != (tt.said != "") || !strings.Contains(verify.stdout, tt.said) {
				t.Errorf("verify says %+v", verify)
			}
		})
	}
}

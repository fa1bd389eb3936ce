package crashtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/vmcore"
)

func machine(t *testing.T, files map[string]string) *Machine {
	t.Helper()
	m := &Machine{Root: t.TempDir(), Sleep: func(time.Duration) {}, Sync: func() {}}
	for name, data := range files {
		write(t, m, name, data)
	}
	return m
}

func write(t *testing.T, m *Machine, name, data string) {
	t.Helper()
	path := filepath.Join(m.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o755); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, m *Machine, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.Root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReady(t *testing.T) {
	healthy := map[string]string{sysrq: "", kmsg: "", hook: "#!/bin/sh\n", booted + "/x": ""}
	for name, c := range map[string]struct {
		file, data string // "-" removes it, "0" makes it not executable
		now        bool
		want       string
	}{
		"all is well":                         {"x", "", false, ""},
		"no sysrq":                            {sysrq, "-", false, "CONFIG_MAGIC_SYSRQ"},
		"no log":                              {kmsg, "-", false, "cannot name the test"},
		"no hook":                             {hook, "-", false, "--now"},
		"no hook, but none is needed":         {hook, "-", true, ""},
		"a hook that cannot run":              {hook, "0", false, "not executable"},
		"an update":                           {inhibitors + "/1", "WHAT=shutdown:sleep\nWHO=\"apt\\x20get\"\nWHY=\"it\\x27s busy\"\nMODE=block\n", false, "apt get (it's busy)"},
		"an update, and now":                  {inhibitors + "/1", "WHAT=shutdown\nMODE=block\n", true, ""},
		"a lock that only delays":             {inhibitors + "/1", "WHAT=shutdown:sleep\nWHO=x\nMODE=delay\n", false, ""},
		"a lock of something else":            {inhibitors + "/1", "WHAT=handle-lid-switch\nWHO=x\nMODE=block\n", false, ""},
		"a weak lock":                         {inhibitors + "/1", "WHAT=shutdown\nWHO=x\nWHY=y\nMODE=block-weak\n", false, "x (y)"},
		"a lock that is not of this format":   {inhibitors + "/1", "\x00\xff=\n=\n", false, ""},
		"a directory where the locks are":     {inhibitors + "/1/x", "", false, ""},
		"systemd has another place for hooks": {"etc/systemd/system-shutdown/ukdump", "", false, ""},
	} {
		m := machine(t, healthy)
		path := filepath.Join(m.Root, c.file)
		switch c.data {
		case "-":
			os.Remove(path)
		case "0":
			os.Chmod(path, 0o644)
		default:
			write(t, m, c.file, c.data)
		}
		err := m.Ready(c.now)
		if got := text(err); c.want == "" && err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", name, got, c.want)
		}
	}
}

// text returns an error with its advice.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error() + " " + advice.For(err)
}

// The capture recognises the line that the mark has.
func TestMark(t *testing.T) {
	m := machine(t, map[string]string{devkmsg: "ratelimit\n"})
	token := Token()
	if err := m.Mark(token); err != nil {
		t.Fatal(err)
	}
	line, ok := strings.CutPrefix(read(t, m, mark), "<5>")
	if got := vmcore.FindTest([]byte("[    1.000000] " + line + "[    1.100000] sysrq: Trigger a crash\n")); !ok || got != token {
		t.Errorf("mark %q: found %q, want %q", line, got, token)
	}
	if got := read(t, m, devkmsg); got != "on\n" {
		t.Errorf("devkmsg is %q", got)
	}
	for range 2 {
		if err := m.Unmark(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(m.path(mark)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestCrash(t *testing.T) {
	m := machine(t, map[string]string{sysrq: "", kmsg: "", "proc/mounts": "/dev/vda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n"})
	requests, waited := "", 0
	m.Sync = func() { requests += "sync " }
	m.Sleep = func(time.Duration) {
		if waited++; waited == 3 {
			write(t, m, "proc/mounts", "/dev/vda1 / ext4 ro,rw=1 0 0\n/dev/vdb /x ext4 ro,rw 0 0\n")
		}
	}
	err := m.Crash("ab12")
	if err == nil || err.Error() != "the kernel did not crash" { // this one cannot
		t.Error(err)
	}
	// A file takes what a kernel would have got one by one.
	if got := read(t, m, sysrq); got != "c" || requests != "sync " || waited != 3 {
		t.Errorf("requests %q, %q, %d waits", got, requests, waited)
	}
	if got := read(t, m, kmsg); got != "<5>"+vmcore.TestMark("ab12")+"\n" {
		t.Errorf("log %q", got)
	}
}

// Nothing crashes with a file system that can still be written.
func TestNoCrashWhileWritable(t *testing.T) {
	m := machine(t, map[string]string{sysrq: "", kmsg: "", "proc/mounts": "/dev/vda1 / ext4 rw,noatime 0 0\n/dev/sdb1 /a\\040b fuseblk rw 0 0\n/dev/vdc /c xfs ro 0 0\n"})
	err := m.Crash("ab12")
	if err == nil || !strings.Contains(err.Error(), `still writable: / /a\040b;`) {
		t.Error(err)
	}
	if got := read(t, m, sysrq); got != "u" {
		t.Errorf("request %q", got)
	}
}

// The hook is a script: it runs here with files in the place of the kernel's.
func TestHook(t *testing.T) {
	script, err := os.ReadFile("../../packaging/ukdump-test.shutdown")
	if err != nil {
		t.Fatal(err)
	}
	line := "<5>" + vmcore.TestMark("ab12") + "\n"
	for name, c := range map[string]struct {
		mark, verb, mounts string
		request, log       string
	}{
		"a test":                  {line, "reboot", "/dev/vda1 / ext4 ro 0 0\nproc /proc proc rw 0 0\n", "c\n", line},
		"a test before kexec":     {line, "kexec", "/dev/vda1 / ext4 ro,relatime 0 0\n", "c\n", line},
		"no test":                 {"", "reboot", "/dev/vda1 / ext4 ro 0 0\n", "", ""},
		"turned off instead":      {line, "poweroff", "/dev/vda1 / ext4 ro 0 0\n", "", ""},
		"halted instead":          {line, "halt", "", "", ""},
		"no verb":                 {line, "", "", "", ""},
		"a file system is busy":   {line, "reboot", "/dev/vda1 / ext4 rw,relatime 0 0\n/dev/vdb /x\\040y xfs rw 0 0\n", "u\n", "<3>ukdump: no test, as these are still writable: / /x\\040y \n"},
		"only memory is writable": {line, "reboot", "tmpfs /run tmpfs rw 0 0\ndevtmpfs /dev devtmpfs rw 0 0\n", "c\n", line},
	} {
		m := machine(t, map[string]string{"proc/mounts": c.mounts, "proc/sysrq-trigger": "", "dev/kmsg": ""})
		if c.mark != "" {
			write(t, m, mark, c.mark)
		}
		text := strings.NewReplacer("/run/ukdump", m.Root+"/run/ukdump", "/proc/", m.Root+"/proc/", "/dev/kmsg", m.Root+"/dev/kmsg", "sleep 0.1", ":").Replace(string(script))
		out, err := exec.Command("sh", "-c", text, "hook", c.verb).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", name, err, out)
		}
		if got := read(t, m, sysrq); got != c.request {
			t.Errorf("%s: request %q, want %q", name, got, c.request)
		}
		if got := read(t, m, kmsg); got != c.log {
			t.Errorf("%s: log %q, want %q", name, got, c.log)
		}
	}
}

package rescue

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// session returns a session in a capture environment of files.
func session(t *testing.T, files map[string]string) *Session {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(plan.FinalEnv, "")
	s := Open(root)
	s.memory = func(string) bool { return false }
	return s
}

// script runs a script and returns its output with ROOT for the root.
func script(t *testing.T, s *Session, text string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	status, err := s.Script(text, &out)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return strings.ReplaceAll(out.String(), s.Root, "ROOT"), status
}

// Scripts in, output and status out.
func TestCommands(t *testing.T) {
	files := map[string]string{
		"text":                       "one\nTwo\nthree\n",
		"proc/meminfo":               "MemTotal:  2048 kB\nMemFree: 1024 kB\nBuffers: 1 kB\nMemAvailable: 512 kB\n",
		"proc/modules":               "ext4 1000 1 jbd2, Live 0x0\njbd2 200 1 ext4, Live 0x0\n",
		"proc/1/stat":                "1 (init) S 0 1",
		"proc/22/stat":               "22 (a ) b) R 0 1",
		"proc/self/mounts":           "rootfs / rootfs rw 0 0\n/dev/vda /mnt vfat rw 0 0\n",
		"sys/class/block/vda/size":   "2048\n",
		"sys/class/block/loop0/size": "0\n",
		"dev/vda":                    strings.Repeat("\x00", 1<<20),
	}
	for _, tt := range []struct {
		script, want string
		status       int
	}{
		{"echo a; cat text | head -n 1", "a\none\n", 0},
		{"x=$(cat text | tail -1); echo \"<$x>\"", "<three>\n", 0},
		{"for i in 1 2; do echo $i; done >list; cat list", "1\n2\n", 0},
		{"mkdir d && cp text d/copy && mv d/copy d/new && ls d && rm -r d && ls", "new\ndev\nproc\nsys\ntext\n", 0},
		{"grep -i two text", "Two\n", 0},
		{"grep -v o text", "three\n", 0},
		{"grep none text", "", 1},
		{"grep e text text", "text:one\ntext:three\ntext:one\ntext:three\n", 0},
		{"grep '(' text", "grep: error parsing regexp: missing closing ): `(`\n", 1},
		{"head -2 text", "one\nTwo\n", 0},
		{"tail -n 2 text", "Two\nthree\n", 0},
		{"head -n x text", "head: \"x\" is not a number of lines\n", 1},
		{"tail nowhere", "tail: open ROOT/nowhere: no such file or directory\n", 1},
		{"cat", "", 0}, // no input from the console
		{"dd if=text of=out bs=2 skip=1 count=2; cat out", "4 bytes copied\ne\nTw", 0},
		{"dd if=text of=out bs=0", "dd: wrong arguments\nUsage: dd if=FILE of=FILE, with bs= from 1 to 4M\n", 1},
		{"dd if=text of=out bs=1K; dd if=text of=out bs=4 seek=1 count=1; cat out", "14 bytes copied\n4 bytes copied\none\none\nthree\n", 0},
		{"free", "MemTotal:        2.0 MiB\nMemFree:         1.0 MiB\nMemAvailable:    0.5 MiB\n", 0},
		{"lsmod", "ext4                     1000  jbd2\njbd2                      200  ext4\n", 0},
		{"ps", "    PID S NAME\n      1 S init\n     22 R a ) b\n", 0},
		{"mount", "rootfs / rootfs rw 0 0\n/dev/vda /mnt vfat rw 0 0\n", 0},
		{"mount -x", "mount: wrong arguments\nUsage: mount [-r] [-t TYPE] [-o OPTIONS] DEVICE DIRECTORY\n", 1},
		{"mount vda /nowhere", "mount: ROOT/dev/vda: no known file system or container\n", 1},
		{"umount", "umount: wrong arguments\nUsage: umount DIRECTORY...\n", 1},
		{"insmod none", "insmod: open ROOT/none: no such file or directory\n", 1},
		{"rmmod", "rmmod: wrong arguments\nUsage: rmmod MODULE...\n", 1},
		{"lsblk", "NAME                 SIZE  TYPE         MOUNTED ON\nvda               1.0 MiB               /mnt\n", 0},
		{"blkid", "", 0},
		{"blkid vda", "blkid: ROOT/dev/vda: no known file system or container\n", 1},
		{"plan", "plan: the plan cannot be read\n", 1},
		{"save vda", "save: ROOT/dev/vda: no known file system or container\nName a device with a file system: blkid lists them.\n", 1},
		{"save", "save: wrong arguments\nUsage: save DEVICE|DIRECTORY\n", 1},
		{"capture; echo no", "", plan.ExitCapture},
		{"if true; then reboot; fi; echo no", "", plan.ExitReboot},
		{"poweroff", "", plan.ExitPoweroff},
		{"halt", "", plan.ExitHalt},
		{"nothing-like-this", "\"nothing-like-this\": executable file not found in $PATH\n", 127},
	} {
		got, status := script(t, session(t, files), tt.script)
		if got != tt.want || status != tt.status {
			t.Errorf("%s:\ngot  %q, %d\nwant %q, %d", tt.script, got, status, tt.want, tt.status)
		}
	}
}

// What a person types, and the end of the input.
func TestInteractive(t *testing.T) {
	for name, tt := range map[string]struct {
		input, want string
		status      int
	}{
		"end of input":     {"", prompt + "\n", 0},
		"commands":         {"echo a\necho b; false\nexit 3\necho c\n", prompt + "a\n" + prompt + "b\n" + prompt, 3},
		"several lines":    {"if true\nthen echo yes\nfi\ncapture\n", prompt + "yes\n" + prompt, plan.ExitCapture},
		"a syntax error":   {"echo )\n", prompt + "1:6: a command can only contain words and redirects; encountered `)`\n" + prompt + "\n", 0},
		"an unknown name":  {"nonsense\nreboot\n", prompt + "\"nonsense\": executable file not found in $PATH\n" + prompt, plan.ExitReboot},
		"it keeps its var": {"x=5\necho $x\n", prompt + prompt + "5\n" + prompt + "\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fmt.Fprint(w, tt.input)
			w.Close()
			var out bytes.Buffer
			status := session(t, nil).Interactive(r, &out)
			if out.String() != tt.want || status != tt.status {
				t.Errorf("got  %q, %d\nwant %q, %d", out.String(), status, tt.want, tt.status)
			}
		})
	}
}

// An interrupt brings the prompt back, whatever the command does.
func TestInterrupt(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, "cat %s\n", fifo)
	w.Close()
	go func() {
		writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // returns when cat reads
		if err != nil {
			return
		}
		defer writer.Close()
		unix.Kill(os.Getpid(), unix.SIGINT)
		time.Sleep(time.Minute)
	}()
	var out bytes.Buffer
	session(t, nil).Interactive(r, &out)
	if want := prompt + "interrupted\n" + prompt + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// Without input the shell warns and ends.
func TestIdle(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	warned := 0
	in := &input{file: r, timeout: 20 * time.Millisecond, warn: func(left time.Duration) {
		warned++
		if warned == 1 {
			fmt.Fprintln(w) // the person stays
		}
	}}
	buf := make([]byte, 8)
	if n, err := in.Read(buf); n != 1 || err != nil || in.over {
		t.Errorf("%d, %v, over %v", n, err, in.over)
	}
	if n, err := in.Read(buf); n != 0 || err == nil || !in.over || warned != 2 {
		t.Errorf("%d, %v, over %v, warned %d times", n, err, in.over, warned)
	}
}

const failedState = `{"Report":{"version":1,"outcome":"dmesg-only","panic":{"line":"Kernel panic - not syncing: sysrq"},` +
	`"target":{"dir":"/var/crash","device":"vda1"},"errors":["device: it did not appear\u001b[2J"]},"Step":"mount"}`

func TestBanner(t *testing.T) {
	for name, tt := range map[string]struct{ state, want string }{
		"nothing is known": {"", `
ukdump-rescue: this machine crashed, and the capture failed.
The report of the capture cannot be read; dmesg shows the messages.
`},
		"an error": {failedState, `
ukdump-rescue: this machine crashed, and the capture failed.
Crash:  Kernel panic - not syncing: sysrq
Error:  device: it did not appear?[2J
Saved:  the log of the kernel, no vmcore in /var/crash (device vda1)
`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			session(t, map[string]string{plan.StatePath: tt.state}).banner(&out)
			want := tt.want + `Type help for the commands. Remove the cause, then type
  capture         to try the capture again
  save DEVICE     to write the log, and the vmcore if there is room, to another device
  exit            to end the shell: reboot
Without input the shell ends after 10 minutes: reboot.
`
			if out.String() != want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), want)
			}
		})
	}
}

func TestMountOptions(t *testing.T) {
	if flags, data := mountOptions(0, "ro,errors=continue,,noatime,x"); flags != 1|1024 || data != "errors=continue,x" {
		t.Errorf("%#x, %q", flags, data)
	}
}

// The state is of another program, and may be torn.
func FuzzState(f *testing.F) {
	f.Add([]byte(failedState))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Session{report: parseState(b)}
		var out bytes.Buffer
		s.banner(&out)
		if strings.ContainsRune(out.String(), '\x1b') {
			t.Errorf("an escape sequence: %q", out.String())
		}
	})
}

// A dump goes to another directory, with the vmcore if a collector succeeds.
func TestSave(t *testing.T) {
	core := realCore(t)
	for name, tt := range map[string]struct {
		collectors []plan.Collector
		want       crashdir.Outcome
	}{
		"the second collector": {[]plan.Collector{sh("exit 1"), sh(`cat "$1" >"$2"`)}, crashdir.Complete},
		"a part of it":         {[]plan.Collector{sh(`head -c 100 "$1" >"$2"`)}, crashdir.Incomplete},
		"none":                 {[]plan.Collector{sh("exit 1")}, crashdir.DmesgOnly},
		"none by choice":       {nil, crashdir.DmesgOnly},
	} {
		t.Run(name, func(t *testing.T) {
			s := session(t, map[string]string{"proc/vmcore": core, plan.StatePath: failedState})
			s.Plan = &plan.Plan{Collectors: tt.collectors, LogOnly: tt.collectors == nil}
			out, status := script(t, s, "mkdir to && save to")
			dumps, err := crashdir.List(filepath.Join(s.Root, "to"))
			if err != nil || len(dumps) != 1 {
				t.Fatalf("%d dumps, %v; %s", len(dumps), err, out)
			}
			if d := dumps[0]; d.Outcome != tt.want || d.LogOnly != s.Plan.LogOnly || (status == 0) != tt.want.Success(s.Plan.LogOnly) {
				t.Errorf("outcome %s, status %d, want %s\n%s", d.Outcome, status, tt.want, out)
			}
		})
	}
}

// What is saved in memory is lost.
func TestSaveInMemory(t *testing.T) {
	s := session(t, nil)
	s.memory = func(string) bool { return true }
	want := "save: ROOT is in memory, which the reboot clears\nName a device, such as one of lsblk, or mount one first.\n"
	if got, status := script(t, s, "save ."); got != want || status != 1 {
		t.Errorf("got %q, %d", got, status)
	}
}

func sh(text string) plan.Collector {
	return plan.Collector{Name: "sh", Argv: []string{"/bin/sh", "-c", text, "sh", plan.VmcoreArg, plan.OutputArg}}
}

// realCore returns memory of a Debian kernel around its log.
func realCore(t *testing.T) string {
	t.Helper()
	f, err := os.Open("../vmcore/testdata/debian-6.1.core.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

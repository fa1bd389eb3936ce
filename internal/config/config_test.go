package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/plan"
	"ukdump/internal/target"
)

func TestDefault(t *testing.T) {
	c := Default()
	want := &Config{
		Targets: targets("/var/crash", "raw:swap"), Evidence: []string{Pstore}, DumpLevel: 31, Compress: "auto", Keep: 5, NFSVersion: "4.2", S3Region: "us-east-1", EncryptReport: true,
		FinalAction: plan.Reboot, FailureAction: plan.Reboot, ShellTimeout: 10 * time.Minute, HookTimeout: time.Minute,
		where: map[string]string{}, set: map[string]bool{},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if w := c.Where("KERNEL"); w != "default" {
		t.Errorf("Where: %q", w)
	}
}

func TestApply(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		change     func(c *Config)
	}{
		{"empty", "", func(*Config) {}},
		{"comments", "# KERNEL=x\n  ; y \\\n\n\t\n", func(*Config) {}},
		{"simple-kdump", "KERNEL=/boot/vmlinuz-linux-lts\nINITRAMFS=\nBOOT_OPTIONS=\"root=UUID=1 ro\"\n",
			func(c *Config) { c.Kernel = "/boot/vmlinuz-linux-lts"; c.BootOptions = "root=UUID=1 ro" }},
		{"everything", "KERNEL=6.12.1+deb13-amd64\nTARGET=/srv//dumps/\nDUMP_LEVEL=0\nCOMPRESS=none\nFINAL_ACTION=halt\nFAILURE_ACTION=shell\nSHELL_TIMEOUT=0\nTIMEOUT=1h 30min\nMODULES=\"nvme  xhci-pci\"\nMODE=dedicated",
			func(c *Config) {
				c.Kernel, c.Targets, c.DumpLevel, c.Compress = "6.12.1+deb13-amd64", targets("/srv/dumps"), 0, "none"
				c.FinalAction, c.FailureAction, c.ShellTimeout, c.Timeout = plan.Halt, plan.Shell, 0, 90*time.Minute
				c.Modules = []string{"nvme", "xhci-pci"}
				c.mode = dedicated
			}},
		{"empty value is the default", "TARGET=/a\nTARGET=\nDUMP_LEVEL=1\nDUMP_LEVEL=\"\"\nMODULES=a\nMODULES=", func(c *Config) { c.Modules = []string{} }},
		{"several targets", "TARGET=/srv/dumps\nTARGET=\"/mnt/a/ \t /var//crash\"\n", func(c *Config) { c.Targets = targets("/mnt/a", "/var/crash") }},
		{"targets without quotes", "TARGET=/b /a\n", func(c *Config) { c.Targets = targets("/b", "/a") }},
		{"raw devices", "TARGET=/a raw:PARTUUID=AbCd-01 raw:UUID=1-2 raw:/dev//vda2 raw:swap", func(c *Config) {
			c.Targets = targets("/a", "raw:PARTUUID=AbCd-01", "raw:UUID=1-2", "raw:/dev/vda2", "raw:swap")
		}},
		{"only a raw device", "TARGET=raw:swap\nRAW_OVERWRITE=yes", func(c *Config) { c.Targets, c.RawOverwrite = targets("raw:swap"), true }},
		{"evidence", "EVIDENCE=/boot/efi/ pstore /boot", func(c *Config) { c.Evidence = []string{"/boot/efi", "pstore", "/boot"} }},
		{"no evidence", "EVIDENCE=none", func(c *Config) { c.Evidence = nil }},
		{"evidence again", "EVIDENCE=none\nEVIDENCE=", func(*Config) {}},
		{"space", "KEEP=0\nMAX_USE=10G\nKEEP_FREE=512 M", func(c *Config) { c.Keep, c.MaxUse, c.KeepFree = 0, 10<<30, 512<<20 }},
		{"log", "DUMP=log", func(c *Config) { c.LogOnly = true }},
		{"vmcore after all", "DUMP=log\nDUMP=vmcore", func(*Config) {}},
		{"motd", "MOTD=yes", func(c *Config) { c.Motd = true }},
		{"hook", "HOOK=/etc/ukdump.hook\nHOOK_TIMEOUT=5min", func(c *Config) { c.Hook, c.HookTimeout = "/etc/ukdump.hook", 5*time.Minute }},
		{"later wins", "DUMP_LEVEL=1\nDUMP_LEVEL=2\n", func(c *Config) { c.DumpLevel = 2 }},
		{"blanks", " \tDUMP_LEVEL \t= \t17 \t\n", func(c *Config) { c.DumpLevel = 17 }},
		{"CRLF", "DUMP_LEVEL=17\r\nBOOT_OPTIONS=\"a \\\r\nb\"\r\n", func(c *Config) { c.DumpLevel = 17; c.BootOptions = "a b" }},
		{"continuation", "BOOT_OPTIONS=a \\\n  b\\\nc\nDUMP_LEVEL=3", func(c *Config) { c.BootOptions = "a   bc"; c.DumpLevel = 3 }},
		{"continuation at the end", "BOOT_OPTIONS=a\\", func(c *Config) { c.BootOptions = "a" }},
		{"escaped backslash does not continue", "BOOT_OPTIONS=a\\\\\nDUMP_LEVEL=3", func(c *Config) { c.BootOptions = `a\`; c.DumpLevel = 3 }},
		{"no continuation of a comment", "# a \\\nDUMP_LEVEL=3", func(c *Config) { c.DumpLevel = 3 }},
		{"no continuation in single quotes", "BOOT_OPTIONS='a\\'\nDUMP_LEVEL=3", func(c *Config) { c.BootOptions = `a\`; c.DumpLevel = 3 }},
		{"unquoted backslash", `BOOT_OPTIONS=a\b\ c`, func(c *Config) { c.BootOptions = "ab c" }},
		{"double quotes", `BOOT_OPTIONS="\"\\\$\` + "`" + `\a$HOME #x"`, func(c *Config) { c.BootOptions = "\"\\$`\\a$HOME #x" }},
		{"single quotes", `BOOT_OPTIONS='"\n # $X'`, func(c *Config) { c.BootOptions = `"\n # $X` }},
		{"quotes inside", `BOOT_OPTIONS=dyndbg="file a +p"`, func(c *Config) { c.BootOptions = `dyndbg="file a +p"` }},
		{"nothing is expanded", "BOOT_OPTIONS=$(reboot) `x` ${Y} a#b", func(c *Config) { c.BootOptions = "$(reboot) `x` ${Y} a#b" }},
		{"equals sign in the value", "BOOT_OPTIONS=a=b=c", func(c *Config) { c.BootOptions = "a=b=c" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, want := Default(), Default()
			if err := got.apply("f", tt.text); err != nil {
				t.Fatal(err)
			}
			tt.change(want)
			want.where, want.set = got.where, got.set
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	const known = " (known are KERNEL, INITRAMFS, BOOT_OPTIONS, TARGET, RAW_OVERWRITE, NFS_VERSION, SSH_KEY, HTTP_TOKEN, HTTP_CERT, HTTP_CA, S3_ENDPOINT, S3_REGION, S3_KEY, ENCRYPT, ENCRYPT_REPORT, EVIDENCE, DUMP, DUMP_LEVEL, COMPRESS, CPUS, KEEP, MAX_USE, KEEP_FREE, FINAL_ACTION, FAILURE_ACTION, SHELL_TIMEOUT, TIMEOUT, MODULES, MOTD, HOOK, HOOK_TIMEOUT, MODE)"
	for _, tt := range []struct{ text, want string }{
		{"KERNAL=x", "f:1: unknown key KERNAL (did you mean KERNEL?)"},
		{"\n\nkernel=x", "f:3: unknown key kernel (did you mean KERNEL?)"},
		{"DUMPLEVEL=1", "f:1: unknown key DUMPLEVEL (did you mean DUMP_LEVEL?)"},
		{"BOOT_OPTIONS=\\\na\nTARGETS=/x", "f:3: unknown key TARGETS (did you mean TARGET?)"},
		{"HOST=3", "f:1: unknown key HOST (known are KERNEL, INITRAMFS, BOOT_OPTIONS, TARGET, RAW_OVERWRITE, NFS_VERSION, SSH_KEY, HTTP_TOKEN, HTTP_CERT, HTTP_CA, S3_ENDPOINT, S3_REGION, S3_KEY, ENCRYPT, ENCRYPT_REPORT, EVIDENCE, DUMP, DUMP_LEVEL, COMPRESS, CPUS, KEEP, MAX_USE, KEEP_FREE, FINAL_ACTION, FAILURE_ACTION, SHELL_TIMEOUT, TIMEOUT, MODULES, MOTD, HOOK, HOOK_TIMEOUT, MODE)"},
		{"export KERNEL=x", "f:1: unknown key export KERNEL (known are KERNEL, INITRAMFS, BOOT_OPTIONS, TARGET, RAW_OVERWRITE, NFS_VERSION, SSH_KEY, HTTP_TOKEN, HTTP_CERT, HTTP_CA, S3_ENDPOINT, S3_REGION, S3_KEY, ENCRYPT, ENCRYPT_REPORT, EVIDENCE, DUMP, DUMP_LEVEL, COMPRESS, CPUS, KEEP, MAX_USE, KEEP_FREE, FINAL_ACTION, FAILURE_ACTION, SHELL_TIMEOUT, TIMEOUT, MODULES, MOTD, HOOK, HOOK_TIMEOUT, MODE)"},
		{"KERNEL", `f:1: no = in "KERNEL"; a line is KEY=VALUE or a comment`},
		{"KER\\\nNEL=x", `f:1: no = in "KER\\"; a line is KEY=VALUE or a comment` + ";\n" + strings.Replace("f:2: unknown key HOST"+known, "HOST", "NEL", 1)},
		{"=x", "f:1: no key before the ="},
		{"KERNEL=boot/vmlinuz", "f:1: KERNEL=boot/vmlinuz: neither an absolute path nor a kernel release as uname -r prints it"},
		{"KERNEL=..", "f:1: KERNEL=..: neither an absolute path nor a kernel release as uname -r prints it"},
		{"INITRAMFS=initrd.img", "f:1: INITRAMFS=initrd.img: not an absolute path"},
		{"TARGET=raw:", `f:1: TARGET=raw:: "raw:" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:sda3", `f:1: TARGET=raw:sda3: "raw:sda3" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:/dev", `f:1: TARGET=raw:/dev: "raw:/dev" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:/dev/../etc", `f:1: TARGET=raw:/dev/../etc: "raw:/dev/../etc" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:LABEL=x", `f:1: TARGET=raw:LABEL=x: "raw:LABEL=x" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:UUID=", `f:1: TARGET=raw:UUID=: "raw:UUID=" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:PARTUUID=a/b", `f:1: TARGET=raw:PARTUUID=a/b: "raw:PARTUUID=a/b" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:Swap", `f:1: TARGET=raw:Swap: "raw:Swap" is not a raw device: raw:PARTUUID=ID, raw:UUID=ID, raw:/dev/NAME or raw:swap; targets are separated by spaces`},
		{"TARGET=raw:swap /a raw:swap", "f:1: TARGET=raw:swap /a raw:swap: raw:swap is listed twice"},
		{"TARGET=\"/a /b/../a\"", "f:1: TARGET=/a /b/../a: /a is listed twice"},
		{"TARGET=crash", `f:1: TARGET=crash: "crash" is neither an absolute path of a directory, nor a raw device as in raw:PARTUUID=ID, nor a target at a server as in sftp://USER@HOST/PATH; targets are separated by spaces`},
		{"TARGET=/srv, /var/crash,/x y", `f:1: TARGET=/srv, /var/crash,/x y: "y" is neither an absolute path of a directory, nor a raw device as in raw:PARTUUID=ID, nor a target at a server as in sftp://USER@HOST/PATH; targets are separated by spaces`},
		{"TARGET=\" \"", "f:1: TARGET= : no target"},
		{"MAX_USE=-1G", "f:1: MAX_USE=-1G: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"MAX_USE=10", "f:1: MAX_USE=10: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"MAX_USE=1.5G", "f:1: MAX_USE=1.5G: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"MAX_USE=10g", "f:1: MAX_USE=10g: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"MAX_USE=G", "f:1: MAX_USE=G: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"MAX_USE=9000000P", "f:1: MAX_USE=9000000P: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"MAX_USE=9223372036854775808", "f:1: MAX_USE=9223372036854775808: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"KEEP_FREE=1023K", "f:1: KEEP_FREE=1023K: not a size of at least 1M, such as 512M or 10G; 0 is no limit"},
		{"KEEP=-1", "f:1: KEEP=-1: not a number of dumps; 0 is no limit"},
		{"KEEP=x", "f:1: KEEP=x: not a number of dumps; 0 is no limit"},
		{"KEEP=2147483648", "f:1: KEEP=2147483648: not a number of dumps; 0 is no limit"},
		{"MOTD=1", "f:1: MOTD=1: not yes or no"},
		{"HOOK=hook", "f:1: HOOK=hook: not an absolute path"},
		{"HOOK_TIMEOUT=0", "f:1: HOOK_TIMEOUT=0: not a time from 1s to 168h, such as 60 (seconds) or 5min"},
		{"DUMP=dmesg", "f:1: DUMP=dmesg: not vmcore or log"},
		{"RAW_OVERWRITE=YES", "f:1: RAW_OVERWRITE=YES: not yes or no"},
		{"EVIDENCE=boot", `f:1: EVIDENCE=boot: "boot" is neither an absolute path of a directory, nor pstore, nor none; directories are separated by spaces`},
		{"EVIDENCE=none pstore", "f:1: EVIDENCE=none pstore: none stands alone"},
		{"EVIDENCE=/boot /boot/", "f:1: EVIDENCE=/boot /boot/: /boot is listed twice"},
		{"TARGET=/var/crash # here", "f:1: TARGET: a comment needs a line of its own; put the value in quotes if the # belongs to it"},
		{"DUMP_LEVEL=32", "f:1: DUMP_LEVEL=32: not a number from 0 to 31"},
		{"DUMP_LEVEL=-1", "f:1: DUMP_LEVEL=-1: not a number from 0 to 31"},
		{"DUMP_LEVEL=+1", "f:1: DUMP_LEVEL=+1: not a number from 0 to 31"},
		{"COMPRESS=gzip", "f:1: COMPRESS=gzip: not auto, zstd, lzo, snappy, zlib or none"},
		{"FINAL_ACTION=shell", "f:1: FINAL_ACTION=shell: not reboot, poweroff or halt"},
		{"FAILURE_ACTION=Reboot", "f:1: FAILURE_ACTION=Reboot: not reboot, poweroff, halt or shell"},
		{"SHELL_TIMEOUT=5", "f:1: SHELL_TIMEOUT=5: not a time from 60s to 168h, such as 600 (seconds), 10min or 1h 30min; 0 is no limit"},
		{"TIMEOUT=59", "f:1: TIMEOUT=59: not a time from 60s to 168h, such as 600 (seconds), 10min or 1h 30min; 0 is derived from the size of the memory"},
		{"TIMEOUT=soon", "f:1: TIMEOUT=soon: not a time from 60s to 168h, such as 600 (seconds), 10min or 1h 30min; 0 is derived from the size of the memory"},
		{"MODULES=a,b", `f:1: MODULES=a,b: "a,b" is not the name of a module; names are separated by spaces`},
		{"MODE=x", "f:1: MODE=x: not dedicated or emergency"},
		{`KERNEL="x`, `f:1: KERNEL: the closing quote " is missing`},
		{"KERNEL=\"x\ny\"", `f:1: KERNEL: the closing quote " is missing` + ";\n" + `f:2: no = in "y\""; a line is KEY=VALUE or a comment`},
		{"KERNEL='x", "f:1: KERNEL: the closing quote ' is missing"},
		{`KERNEL="x" # y`, "f:1: KERNEL: text after the closing quote"},
		{`KERNEL='x'y`, "f:1: KERNEL: text after the closing quote"},
		{"DUMP_LEVEL=1\nKERNEL=\x00", "f:2: a NUL byte; this is not a text file"},
		{"KERNEL=\x1b[31m", "f:1:8: U+001B is a control character"},
		{"KERNEL=a\rb", "f:1:9: U+000D is a control character"},
		{"KERNEL=\u009b", "f:1:8: U+009B is a control character"},
		{"KERNEL=\xff", "f:1:8: the byte 0xFF is not UTF-8"},
		{"COMPRESS=" + strings.Repeat("x", 200), "f:1: COMPRESS=" + strings.Repeat("x", 80) + "...: not auto, zstd, lzo, snappy, zlib or none"},
	} {
		err := Default().apply("f", tt.text)
		var e *Error
		if fmt.Sprint(err) != tt.want || !errors.As(err, &e) {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

func TestParseTimeout(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration // -1 for an error
	}{
		{"0", 0}, {"600", 600 * time.Second}, {"10min", 10 * time.Minute}, {"10 m", 10 * time.Minute},
		{"1h", time.Hour}, {"1h30min5s", time.Hour + 30*time.Minute + 5*time.Second},
		{"2 hours 1 second", 2*time.Hour + time.Second}, {"168h", 168 * time.Hour},
		{"169h", -1}, {"168h 1s", -1}, {"", -1}, {" ", -1}, {"-1", -1}, {"1.5h", -1}, {"1d", -1}, {"h", -1},
		{"infinity", -1}, {"4294967295h", -1}, {"99999999999999999999", -1}, {"1H", -1},
	} {
		got, err := parseTimeout(tt.in)
		if err != nil {
			got = -1
		}
		if got != tt.want {
			t.Errorf("%q: got %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	root := t.TempDir()
	c, err := Load(root)
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Fatalf("nothing there: got %+v, %v", c, err)
	}
	write(t, root+"/etc/ukdump.conf", "KERNEL=/main\nDUMP_LEVEL=1\nTIMEOUT=65\n")
	write(t, root+"/etc/ukdump.conf.d/20-b.conf", "\nDUMP_LEVEL=3\n")
	write(t, root+"/etc/ukdump.conf.d/10-a.conf", "DUMP_LEVEL=2\nKERNEL=\n")
	for _, other := range []string{"README", "30.conf~", ".30-c.conf", "30.conf.bak"} {
		write(t, root+"/etc/ukdump.conf.d/"+other, "nonsense")
	}
	if c, err = Load(root); err != nil {
		t.Fatal(err)
	}
	if c.Kernel != "" || c.DumpLevel != 3 || c.Timeout != 65*time.Second {
		t.Errorf("got %+v", c)
	}
	if !c.IsSet("DUMP_LEVEL") || c.IsSet("KERNEL") || c.IsSet("TARGET") {
		t.Errorf("set are %v", c.set)
	}
	for key, want := range map[string]string{
		"DUMP_LEVEL": root + "/etc/ukdump.conf.d/20-b.conf:2",
		"KERNEL":     root + "/etc/ukdump.conf.d/10-a.conf:2",
		"TIMEOUT":    root + "/etc/ukdump.conf:3",
		"TARGET":     "default",
	} {
		if got := c.Where(key); got != want {
			t.Errorf("Where(%s) = %s, want %s", key, got, want)
		}
	}
	if c, err = LoadFile(root + "/etc/ukdump.conf"); err != nil || c.DumpLevel != 1 {
		t.Errorf("LoadFile: got %+v, %v", c, err)
	}
	write(t, root+"/etc/ukdump.conf.d/30-c.conf", "X=1")
	if _, err = Load(root); err == nil || !strings.HasPrefix(err.Error(), root+"/etc/ukdump.conf.d/30-c.conf:1: unknown key X") {
		t.Errorf("got %v", err)
	}
}

func TestLoadUnreadable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(t *testing.T, root string)
		want  string
	}{
		{"directory", func(t *testing.T, root string) { write(t, root+"/etc/ukdump.conf/x", "") }, "/etc/ukdump.conf: not a regular file"},
		{"drop-in is a directory", func(t *testing.T, root string) { write(t, root+"/etc/ukdump.conf.d/a.conf/x", "") }, "/etc/ukdump.conf.d/a.conf: not a regular file"},
		{"drop-in directory is a file", func(t *testing.T, root string) { write(t, root+"/etc/ukdump.conf.d", "") }, "/etc/ukdump.conf.d: not a directory"},
		{"huge", func(t *testing.T, root string) {
			write(t, root+"/etc/ukdump.conf", strings.Repeat("#\n", 1<<19)+"#")
		}, "/etc/ukdump.conf: larger than 1048576 bytes"},
		{"FIFO", func(t *testing.T, root string) {
			write(t, root+"/etc/x", "")
			if err := syscall.Mkfifo(root+"/etc/ukdump.conf", 0o600); err != nil {
				t.Fatal(err)
			}
		}, "/etc/ukdump.conf: not a regular file"},
		{"dangling drop-in", func(t *testing.T, root string) {
			write(t, root+"/etc/ukdump.conf.d/x", "")
			if err := os.Symlink("none", root+"/etc/ukdump.conf.d/a.conf"); err != nil {
				t.Fatal(err)
			}
		}, "/etc/ukdump.conf.d/a.conf: a link to none, which does not exist"},
		{"loop", func(t *testing.T, root string) {
			write(t, root+"/etc/x", "")
			if err := os.Symlink("ukdump.conf", root+"/etc/ukdump.conf"); err != nil {
				t.Fatal(err)
			}
		}, "/etc/ukdump.conf: too many levels of symbolic links"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			tt.setup(t, root)
			_, err := Load(root)
			if err == nil || !strings.HasPrefix(err.Error(), "read configuration: ") || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if advice.For(err) == "" {
				t.Errorf("%v: no advice", err)
			}
		})
	}
	if _, err := LoadFile(t.TempDir() + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadFile of nothing: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("KERNEL=/boot/vmlinuz\nBOOT_OPTIONS=\"a \\\"b\\\" \\\n c\"\nTIMEOUT=1h 5min\n")
	f.Add("# x\n;y\nTARGET='/var/crash'\r\nDUMP_LEVEL = 31\nMODULES=a b\nKERNAL=1")
	f.Add("COMPRESS=\\z\\")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		err := c.apply("f", text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Line > 1+strings.Count(text, "\n") {
				t.Errorf("error %v", err)
			}
			for _, r := range strings.ReplaceAll(err.Error(), ";\n", "; ") {
				if r != '\t' && (r < ' ' || r == 0x7f) {
					t.Errorf("control character in %q", err)
				}
			}
			return
		}
		relative := func(t target.Target) bool { return !filepath.IsAbs(t.Name) && !t.Raw() }
		if len(c.Targets) == 0 || slices.ContainsFunc(c.Targets, relative) || c.DumpLevel < 0 || c.DumpLevel > 31 || c.Timeout < 0 || c.Timeout > maxTimeout ||
			c.Keep < 0 || c.MaxUse < 0 || c.KeepFree < 0 {
			t.Errorf("accepted %+v", c)
		}
	})
}

// targets parses names of targets.
func targets(names ...string) (list []target.Target) {
	for _, n := range names {
		t, err := target.Parse(n)
		if err != nil {
			panic(err) // a name that a test made
		}
		list = append(list, t)
	}
	return list
}

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Scripts of the formats, and the ways in which package managers call them.
const (
	debPostinst = "deb postinst"
	debPrerm    = "deb prerm"
	debPostrm   = "deb postrm"
	rpmPost     = "rpm POSTIN"
	rpmPreun    = "rpm PREUN"
	rpmPostun   = "rpm POSTUN"
	archInstall = "arch .INSTALL"
)

// Calls of systemctl and kdumpctl.
const (
	daemonReload = "systemctl daemon-reload"
	reload       = "systemctl --no-block try-reload-or-restart ukdump.service"
	disable      = "systemctl --quiet --no-reload disable ukdump.service ukdump-metrics.timer"
	stop         = "systemctl stop ukdump*.path ukdump*.timer ukdump*.service"
	unload       = "kdumpctl unload"
	ifChanged    = "kdumpctl reload --if-changed"
)

// calls is what each step of the life of a package does on a running machine.
var calls = []struct {
	name, script, args string
	want               []string
	gone               bool // the state of ukdump, afterwards
}{
	{"deb: install", debPostinst, "configure", []string{daemonReload}, false},
	{"deb: upgrade", debPostinst, "configure 0.1.0-1", []string{daemonReload, reload}, false},
	{"deb: upgrade, old script", debPrerm, "upgrade 0.2.0-1", nil, false},
	{"deb: upgrade, old script afterwards", debPostrm, "upgrade 0.2.0-1", nil, false},
	{"deb: failed upgrade", debPostinst, "abort-upgrade 0.2.0-1", nil, false},
	{"deb: kernel or makedumpfile", debPostinst, "triggered /lib/modules", []string{ifChanged}, false},
	{"deb: remove", debPrerm, "remove", []string{disable, stop, unload}, false},
	{"deb: removed", debPostrm, "remove", []string{daemonReload}, false},
	{"deb: purge", debPostrm, "purge", []string{daemonReload}, true},
	{"rpm: install", rpmPost, "1", []string{daemonReload}, false},
	{"rpm: upgrade", rpmPost, "2", []string{daemonReload, reload}, false},
	{"rpm: upgrade, old script", rpmPreun, "1", nil, false},
	{"rpm: upgrade, old script afterwards", rpmPostun, "1", nil, false},
	{"rpm: remove", rpmPreun, "0", []string{disable, stop, unload}, false},
	{"rpm: removed", rpmPostun, "0", []string{daemonReload}, true},
	{"arch: install", archInstall, "post_install 0.2.0-1", []string{daemonReload}, false},
	{"arch: upgrade", archInstall, "post_upgrade 0.2.0-1 0.1.0-1", []string{daemonReload, reload}, false},
	{"arch: remove", archInstall, "pre_remove 0.2.0-1", []string{disable, stop, unload}, false},
	{"arch: removed", archInstall, "post_remove 0.2.0-1", []string{daemonReload}, true},
}

// scriptText returns a script of a package.
func scriptText(t *testing.T, name string) string {
	t.Helper()
	format, script, _ := strings.Cut(name, " ")
	switch format {
	case "deb":
		return text(t, deb(t, "control"), "./"+script)
	case "rpm":
		return rpm(t, "--qf", "%{"+script+"}")
	}
	return text(t, arch(t), script)
}

// sandbox is a machine for scripts: a directory in place of /run and /var, and programs
// that record how they are called.
type sandbox struct{ dir string }

func newSandbox(t *testing.T, programs ...string) sandbox {
	t.Helper()
	s := sandbox{t.TempDir()}
	for _, dir := range []string{"bin", "run/systemd/system", "run/motd.d", "var/lib/ukdump", "var/crash/dump", "etc"} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"var/lib/ukdump/loaded.json", "run/ukdump.lock", "run/motd.d/ukdump", "var/crash/dump/vmcore", "etc/ukdump.conf"} {
		s.write(t, name, "")
	}
	for _, program := range programs {
		s.write(t, "bin/"+program, "#!/bin/sh\necho \""+program+" $*\" >>'"+s.path("calls")+"'\n")
	}
	// A machine, not a chroot or a container.
	s.write(t, "bin/systemd-detect-virt", "#!/bin/sh\nexit 1\n")
	for _, name := range []string{"rm", "mkdir", "grep"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, s.path("bin/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s sandbox) path(name string) string { return filepath.Join(s.dir, name) }

func (s sandbox) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// exists reports whether the file is there.
func (s sandbox) exists(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// run runs a script, which must succeed, and returns the calls of programs.
func (s sandbox) run(t *testing.T, name, args string, env ...string) []string {
	t.Helper()
	lines := scriptText(t, name)
	if len(env) == 0 { // else the variables name the root
		lines = strings.NewReplacer("/run/", s.dir+"/run/", "/var/lib/", s.dir+"/var/lib/", "/usr/lib/systemd/", s.dir+"/usr/lib/systemd/").Replace(lines)
	}
	if name == archInstall {
		return s.runText(t, "bash", lines+"\n\"$@\"\n", args, env...)
	}
	return s.runText(t, "sh", lines, args, env...)
}

// runText runs a script in a shell.
func (s sandbox) runText(t *testing.T, shell, lines, args string, env ...string) []string {
	t.Helper()
	s.write(t, "script", lines)
	cmd := exec.Command("/bin/"+shell, append([]string{s.path("script")}, strings.Fields(args)...)...)
	cmd.Env = append([]string{"PATH=" + s.path("bin")}, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	recorded, err := os.ReadFile(s.path("calls"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(recorded)), "\n")
}

// check compares the calls, and the files that are there afterwards.
func (s sandbox) check(t *testing.T, got, want []string, gone bool) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	for _, name := range []string{"var/lib/ukdump", "run/ukdump.lock", "run/motd.d/ukdump"} {
		if s.exists(name) == gone {
			t.Errorf("%s is there: %v", name, !gone)
		}
	}
	if !s.exists("var/crash/dump/vmcore") || !s.exists("etc/ukdump.conf") {
		t.Error("the dump or the configuration is gone")
	}
}

func TestScripts(t *testing.T) {
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t, "systemctl", "kdumpctl")
			s.check(t, s.run(t, c.script, c.args), c.want, c.gone)
		})
	}
}

// Without systemd nothing is called but the comparison of the loaded set.
func TestScriptsWithoutSystemd(t *testing.T) {
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t, "kdumpctl")
			if err := os.RemoveAll(s.path("run/systemd")); err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(slices.Clone(c.want), func(call string) bool { return call != ifChanged })
			s.check(t, s.run(t, c.script, c.args), want, c.gone)
		})
	}
}

// dpkg of bookworm removes a directory of systemd's with our file in it.
func TestDirectoryOfSystemd(t *testing.T) {
	for list, want := range map[string]bool{
		"/lib/systemd\n/lib/systemd/system-shutdown\n":         true,  // bookworm
		"/usr/lib/systemd\n/usr/lib/systemd/system-shutdown\n": false, // dpkg knows the owner
		"/usr/lib/systemd\n":                                   false, // trixie
		"":                                                     false,
	} {
		s := newSandbox(t, "systemctl")
		s.write(t, "bin/dpkg-query", "#!/bin/sh\nprintf '"+list+"'\n")
		s.run(t, debPostrm, "remove")
		if got := s.exists("usr/lib/systemd/system-shutdown"); got != want {
			t.Errorf("systemd has %q: %v", list, got)
		}
	}
}

// In a chroot or a container the crash slot is that of the host.
func TestScriptsInContainer(t *testing.T) {
	for _, where := range []string{"--chroot", "--container"} {
		for _, c := range calls {
			t.Run(where+" "+c.name, func(t *testing.T) {
				s := newSandbox(t, "systemctl", "kdumpctl")
				s.write(t, "bin/systemd-detect-virt", "#!/bin/sh\n[ \"$2\" = "+where+" ]\n")
				want := slices.DeleteFunc(slices.Clone(c.want), func(call string) bool { return call == unload })
				s.check(t, s.run(t, c.script, c.args), want, c.gone)
			})
		}
	}
}

// Errors of systemd and kdumpctl never fail an installation or a removal.
func TestScriptsWithErrors(t *testing.T) {
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t)
			for _, program := range []string{"systemctl", "kdumpctl"} {
				s.write(t, "bin/"+program, "#!/bin/sh\necho \""+program+" $*\" >>'"+s.path("calls")+"'\nexit 1\n")
			}
			s.check(t, s.run(t, c.script, c.args), c.want, c.gone)
		})
	}
}

// dpkg can run the scripts of another root, whose path is in DPKG_ROOT.
func TestScriptsOfAnotherRoot(t *testing.T) {
	for _, c := range calls {
		if !strings.HasPrefix(c.name, "deb") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t, "systemctl", "kdumpctl")
			var want []string
			if slices.Contains(c.want, disable) {
				want = []string{strings.Replace(disable, "systemctl", "systemctl --root="+s.dir, 1)}
			}
			s.check(t, s.run(t, c.script, c.args, "DPKG_ROOT="+s.dir), want, c.gone)
		})
	}
}

// The hooks run the comparison and succeed whatever it answers.
func TestHooks(t *testing.T) {
	hook, err := os.ReadFile("95-ukdump.hook")
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(hook), "Exec = /bin/sh -c '")
	command, _, _ = strings.Cut(command, "'\n")
	plugin, err := os.ReadFile("95-ukdump.install")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text, args string
		want             []string
	}{
		{"pacman", command, "", []string{ifChanged}},
		{"kernel-install add", string(plugin), "add 6.1.0 /boot/id/6.1.0 /boot/vmlinuz", []string{ifChanged}},
		{"kernel-install remove", string(plugin), "remove 6.1.0 /boot/id/6.1.0", []string{ifChanged}},
		{"another command of kernel-install", string(plugin), "inspect 6.1.0", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSandbox(t)
			s.write(t, "bin/kdumpctl", "#!/bin/sh\necho \"kdumpctl $*\" >>'"+s.path("calls")+"'\nexit 1\n")
			s.check(t, s.runText(t, "sh", c.text, c.args), c.want, false)
		})
	}
}

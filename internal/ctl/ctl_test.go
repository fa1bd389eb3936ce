package ctl

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/builder"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/cli"
	"ukdump/internal/cli/clitest"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/kexec"
	"ukdump/internal/plan"
	"ukdump/internal/state"
	"ukdump/internal/verify"
)

// The manual page has all verbs, in the order of the table.
func TestManualPage(t *testing.T) {
	c := newMachine(t).ctl()
	clitest.Page(t, "../../docs/kdumpctl.8", "VERBS", c.Program, c.verbs())
}

// memory is a file system that needs no disk, see shm_overview(7).
const memory = "/dev/shm"

func TestMain(m *testing.M) {
	time.Local = time.UTC
	if root := os.Getenv(killedRoot); root != "" {
		loadUntilKilled(root)
	}
	// Every write is made durable, which takes most of the time on a disk.
	var st unix.Statfs_t
	if unix.Statfs(memory, &st) == nil && int64(st.Bavail)*st.Bsize > 1<<30 && unix.Access(memory, unix.W_OK) == nil && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", memory)
	}
	os.Exit(m.Run())
}

// machine is a machine whose kernel accepts every set.
type machine struct {
	*buildtest.Machine
	t      testing.TB
	uid    int
	err    error  // answer of the kernel
	asked  func() // called when the kernel is asked
	sleep  func(time.Duration)
	route  builder.Router
	askNFS builder.Asker
	calls  []string // of kexec_file_load: the command line, or "unload"

	journalLimit time.Duration

	columns int // of the terminal; 0 if there is none

	swapons   int    // how often swap was turned on
	reloads   int    // how often systemd was asked to reload ukdump.service
	retries   []bool // how systemd was asked to start and stop ukdump-retry.timer
	hooks     int    // how often the hooks were started
	mountJobs func() ([]string, error)

	memUsage func(string) ([]byte, error)
	tryWrite func(string) error

	answer    bool // to what kdumpctl asks
	reboots   int
	rebootErr error

	look    map[string]bool // programs that are installed
	command func(args []string) ([]byte, error)
	ran     []string // commands of setup

	kernel, initrd []byte // loaded last

	ring    buildtest.Keyring
	inTable map[string][]byte // keys that the table of a volume shows, by its UUID
}

func newMachine(t testing.TB) *machine {
	return &machine{Machine: buildtest.New(t), t: t, asked: func() {}, sleep: func(time.Duration) {}, journalLimit: time.Minute, tryWrite: verify.TryWrite,
		mountJobs: func() ([]string, error) { return nil, nil },
	}
}

// run runs a subtest after which the machine is as it was.
func (m *machine) run(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	saved := *m
	m.Run(t, name, func(t *testing.T) {
		m.t = t
		f(t)
	})
	*m = saved
}

// fileLoad stands for kexec_file_load(2).
func (m *machine) fileLoad(kernel, initrd int, cmdline string, flags int) error {
	loaded := "1\n"
	if flags&unix.KEXEC_FILE_UNLOAD != 0 {
		cmdline, loaded = "unload", "0\n"
	}
	m.calls = append(m.calls, cmdline)
	m.asked()
	if m.err != nil {
		if loaded == "1\n" && m.err != unix.EBUSY && m.err != unix.ENOSYS {
			m.Write("sys/kernel/kexec_crash_loaded", "0\n") // it has looked, so it has dropped the old one
		}
		return m.err
	}
	if cmdline != "unload" {
		m.kernel, m.initrd = m.readFd(kernel), m.readFd(initrd)
	}
	m.Write("sys/kernel/kexec_crash_loaded", loaded)
	return nil
}

func (m *machine) readFd(fd int) []byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		m.t.Error(err)
	}
	return b
}

type result struct {
	status         int
	stdout, stderr string
}

// Parts that differ from run to run.
var (
	seconds = regexp.MustCompile(`in \d+\.\d s`)
	free    = regexp.MustCompile(`[0-9.]+ ([KMGT]i)?B free`)
	hashes  = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	stamps  = regexp.MustCompile(`"(time|free_bytes|fingerprint|kernel_sha256|image_sha256|cmdline)": ("[^"]*"|\d+)`)
)

// ctl returns the program for this machine.
func (m *machine) ctl() *ctl {
	c := &ctl{
		Program: &cli.Program{Name: "kdumpctl", Stdout: io.Discard, Stderr: io.Discard},
		root:    m.Root, pid1: m.Pid1, store: state.Store{Root: m.Root}, kexec: kexec.New(m.Root), uid: m.uid, columns: m.columns,
		journalLimit: m.journalLimit, sleep: m.sleep, route: m.route, askNFS: m.askNFS,
		swapon: func() error { m.swapons++; return nil }, reloadUnit: func() error { m.reloads++; return nil }, retry: func(start bool) error { m.retries = append(m.retries, start); return nil }, mountJobs: m.mountJobs, memUsage: m.memUsage, tryWrite: m.tryWrite,
		ask: func(string) (bool, error) { return m.answer, nil },
	}
	c.setupMachine = m.setupMachine
	c.startHooks = func() error { m.hooks++; return nil }
	c.lookPath = func(name string) (string, error) {
		if !m.look[name] {
			return "", exec.ErrNotFound
		}
		return "/usr/bin/" + name, nil
	}
	c.exec = func(path string, args []string) error {
		fmt.Fprintf(c.Stdout, "%s %q\n", path, args)
		return nil
	}
	c.wait = c.exec
	c.reboot = func() error {
		if m.rebootErr == nil {
			m.reboots++
		}
		return m.rebootErr
	}
	c.keys = &cryptkeys.Handover{
		Root:  m.Root,
		Mount: func(string) error { m.t.Error("configfs was mounted"); return nil },
		Table: func(k cryptkeys.Key) []byte { return bytes.Clone(m.inTable[k.UUID]) },
		Write: func(file, value string) error {
			if filepath.Base(file) == "reuse" && !m.isLoaded() {
				return unix.EINVAL
			}
			return os.WriteFile(file, []byte(value), 0o600)
		},
		Ring: m.ring,
	}
	c.kexec.FileLoad = m.fileLoad
	c.kexec.LookPath = func(string) (string, error) { return "", os.ErrNotExist }
	c.kexec.Run = func([]string, []*os.File) (string, error) { m.t.Error("a program was run"); return "", nil }
	c.kexec.Sleep = func(time.Duration) {}
	return c
}

// kdumpctl runs the program in process. ROOT stands for the machine's directory
// in arguments and output.
func (m *machine) kdumpctl(line string) result {
	m.t.Helper()
	args := strings.Fields(strings.ReplaceAll(line, "ROOT", m.Root))
	var stdout, stderr bytes.Buffer
	c := m.ctl()
	c.Args, c.Stdout, c.Stderr = args, &stdout, &stderr
	status := c.End(c.run())
	clean := func(b bytes.Buffer) string {
		return seconds.ReplaceAllString(free.ReplaceAllString(strings.ReplaceAll(b.String(), m.Root, "ROOT"), "N free"), "in N s")
	}
	return result{status, clean(stdout), clean(stderr)}
}

// expect runs kdumpctl and compares all of its result. It takes the beginning of
// a line for the line if it ends in "...".
func (m *machine) expect(line string, want result) {
	m.t.Helper()
	got := m.kdumpctl(line)
	if got.status != want.status || !matches(got.stdout, want.stdout) || !matches(got.stderr, want.stderr) {
		m.t.Errorf("kdumpctl %s: status %d\nstdout %sstderr %s\nwant status %d\nstdout %sstderr %s", line, got.status, got.stdout, got.stderr, want.status, want.stdout, want.stderr)
	}
}

func matches(got, want string) bool {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	if len(g) != len(w) {
		return false
	}
	for i := range g {
		begin, open := strings.CutSuffix(w[i], "...")
		if g[i] != w[i] && !(open && strings.HasPrefix(g[i], begin)) {
			return false
		}
	}
	return true
}

// asNobody calls f, which looks at the machine without any privilege.
func (m *machine) asNobody(f func()) {
	t := m.t
	t.Helper()
	m.uid = 65534
	for _, dir := range []string{filepath.Dir(m.Root), filepath.Dir(filepath.Dir(m.Root))} { // testing's own, 0700
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// fsuid is the thread's own; it takes CAP_DAC_OVERRIDE with it (capabilities(7)).
	// Without privileges it does nothing, and is not needed.
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setfsuid(os.Geteuid()); err != nil {
		t.Error(err)
	}
}

const image = "var/lib/ukdump/initramfs-" + buildtest.Release + ".img"

func TestVerbs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	var help bytes.Buffer
	for _, verb := range append([]string{""}, m.ctl().names()...) {
		got := m.kdumpctl(verb + " --help")
		if got.status != 0 || got.stderr != "" {
			t.Errorf("%s --help: %+v", verb, got)
		}
		m.expect("help "+verb, got)
		m.expect(verb+" -h", got)
		fmt.Fprintf(&help, "$ kdumpctl %s --help\n%s\n", verb, got.stdout)
	}
	buildtest.Golden(t, "help.txt", help.Bytes())
	// Every verb that takes no argument refuses one; testdata/script/usage.txtar has the
	// other mistakes.
	for _, verb := range []string{"load", "unload", "build", "verify", "list", "announce", "version"} {
		m.expect(verb+" x", result{2, "", "kdumpctl: unexpected argument \"x\": see kdumpctl " + verb + " --help\n"})
	}
	m.expect("--version", result{0, "kdumpctl " + plan.Software + "\n", ""})
	m.expect("help laod", result{2, "", "kdumpctl: unknown verb \"laod\", did you mean load or log?: see kdumpctl --help\n"})
	m.uid = 1000
	for _, verb := range []string{"load", "reload", "unload", "build", "verify", "prune", "collect", "announce"} {
		m.expect(verb, result{1, "", "kdumpctl: " + verb + ": only root can do that\nkdumpctl: Run sudo kdumpctl " + verb + ".\n"})
	}
	if len(m.calls) > 0 {
		t.Errorf("the kernel was asked: %q", m.calls)
	}
	if _, err := os.Stat(filepath.Join(m.Root, state.Dir)); err == nil {
		t.Error("files were made")
	}
}

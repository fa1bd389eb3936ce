package ctl

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/initramfs"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/plan"
	"ukdump/internal/verify"
)

const (
	luksID      = "00000000-0000-4000-8000-000000000001"
	description = "kdump-cryptsetup:vk-" + luksID
	configfs    = "sys/kernel/config/crash_dm_crypt_keys"
)

// encrypted returns a machine with its root on LUKS, and what the items in
// configfs held at each load.
func encrypted(t *testing.T) (*machine, *[]string) {
	m := newMachine(t)
	m.AddLUKS()
	m.Write(configfs+"/reuse", "0")
	m.ring = buildtest.Keyring{description: true}
	seen := new([]string)
	m.asked = func() {
		items, _ := filepath.Glob(filepath.Join(m.Root, configfs, "*/description"))
		line := "reuse " + strings.TrimSpace(m.Read(configfs+"/reuse"))
		for _, i := range items {
			b, _ := os.ReadFile(i)
			line += " " + string(b)
		}
		*seen = append(*seen, line)
	}
	return m, seen
}

func TestLoadEncrypted(t *testing.T) {
	t.Parallel()
	m, seen := encrypted(t)
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	if items, _ := filepath.Glob(filepath.Join(m.Root, configfs, "ukdump-*")); len(items) > 0 {
		t.Errorf("left in configfs: %v", items)
	}
	// Processors came, and the key has been removed meanwhile.
	m.ring = nil
	m.Write("run/ukdump-hotplug", "")
	m.expect("reload --hotplug", result{0, "loaded " + buildtest.Release + " with initramfs-" + buildtest.Release + ".img again in N s\n", ""})
	m.expect("reload", result{0, loadedLine, ""})
	if got := m.kdumpctl("status"); !strings.Contains(got.stdout, "\nmissing         nothing\n") {
		t.Errorf("status %s", got.stdout)
	}
	want := []string{"reuse 0 " + description, "reuse 1 " + description, "reuse 1 " + description}
	if !slices.Equal(*seen, want) {
		t.Errorf("the kernel saw %q\nwant %q", *seen, want)
	}
	// With nothing loaded there are no keys to take over.
	m.expect("unload", result{0, "unloaded\n", ""})
	missing := "kdumpctl: /var/crash cannot be opened after a crash: the volume key of luks-root (LUKS " + luksID + ") is not in root's keyring; ...\n" +
		"kdumpctl: Add the option link-volume-key=@u::%logon:" + description + " to the line of luks-root in /etc/crypttab, or ...\n"
	m.expect("load", result{1, "", missing})
	if got := m.kdumpctl("status"); got.status != 3 || !strings.Contains(got.stdout, "missing         /var/crash cannot be opened after a crash: the volume key of luks-root") {
		t.Errorf("status %s", got.stdout)
	}
}

// Nobody can know the key of the fallback set either, but it is asked for.
func TestLoadEncryptedFails(t *testing.T) {
	t.Parallel()
	m, seen := encrypted(t)
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	m.Write("etc/ukdump.conf", "BOOT_OPTIONS=debug\n")
	asked, calls := m.asked, 0
	m.asked = func() {
		asked()
		m.err = nil
		if calls++; calls == 1 {
			m.err = unix.ENOMEM
		}
	}
	if got := m.kdumpctl("load"); got.status != 1 || !strings.Contains(got.stderr, "loaded instead: the fallback set") {
		t.Errorf("got %+v", got)
	}
	if want := "reuse 0 " + description; len(*seen) != 3 || (*seen)[2] != want {
		t.Errorf("the kernel saw %q", *seen)
	}
}

// The kernel has dropped the loaded set, but not its copy of a key that is gone
// from the keyring.
func TestReloadEncryptedFails(t *testing.T) {
	t.Parallel()
	m, seen := encrypted(t)
	m.expect("load", result{0, builtLine + "\n" + loadedLine, ""})
	m.ring = nil
	m.Write("etc/ukdump.conf", "BOOT_OPTIONS=debug\n")
	asked := m.asked
	m.failOnce(unix.EKEYREJECTED)
	once := m.asked
	m.asked = func() { asked(); once() }
	if got := m.kdumpctl("reload"); got.status != 1 || !strings.Contains(got.stderr, "loaded instead: the fallback set") {
		t.Errorf("got %+v", got)
	}
	want := []string{"reuse 0 " + description, "reuse 1 " + description, "reuse 1 " + description}
	if !slices.Equal(*seen, want) {
		t.Errorf("the kernel saw %q\nwant %q", *seen, want)
	}
	if got := m.Read(configfs + "/reuse"); got != "0" {
		t.Errorf("reuse is %q afterwards", got)
	}
	// A set with its keys can be loaded again.
	m.expect("reload", result{0, loadedLine, ""})
}

// A second target makes up for a key that is missing.
func TestLoadEncryptedOther(t *testing.T) {
	t.Parallel()
	m, seen := encrypted(t)
	m.ring = nil
	m.AddDisk()
	m.Write("etc/ukdump.conf", "TARGET=/var/crash /srv/dumps\n")
	got := m.kdumpctl("load")
	if got.status != 0 || !strings.HasPrefix(got.stderr, "kdumpctl: warning: /var/crash cannot be opened after a crash: the volume key of luks-root") {
		t.Errorf("got %+v", got)
	}
	if !slices.Equal(*seen, []string{"reuse 0"}) {
		t.Errorf("the kernel saw %q", *seen)
	}
	// A dump would go elsewhere then, which nobody has asked for.
	for _, missing := range []string{"the volume key of luks-root (LUKS " + luksID + ") is not in root's keyring", "the loaded capture kernel lacks the volume key of luks-root"} {
		missing = "/var/crash cannot be opened after a crash: " + missing
		if got := m.kdumpctl("status"); !strings.Contains(got.stdout, "missing         "+missing+"\n") {
			t.Errorf("status %s", got.stdout)
		}
		if got := m.kdumpctl("verify"); got.status != 1 || !strings.Contains(got.stdout, "PROBLEM  target        "+missing+"\n") || strings.Contains(got.stdout, "/var/crash can be") {
			t.Errorf("verify %s", got.stdout)
		}
		m.ring = buildtest.Keyring{description: true}
	}
	if got := m.kdumpctl("reload"); got.status != 0 || got.stderr != "" {
		t.Errorf("reload %+v", got)
	}
	for _, line := range []string{"verify", "status"} {
		if got := m.kdumpctl(line); strings.Contains(got.stdout, "volume key") {
			t.Errorf("%s %s", line, got.stdout)
		}
	}
	// The same image without the key is another set, and another proof.
	const since = "another set was loaded since"
	if v := verify.LastResult(m.ctl().store, m.ctl().store.Loaded()); v.Why == since {
		t.Error("it was not proven with the key")
	}
	m.event(time.Hour)
	m.expect(hotplug, result{0, again, ""})
	m.expect("unload", result{0, "unloaded\n", ""})
	m.ring = nil
	m.load()
	if v := verify.LastResult(m.ctl().store, m.ctl().store.Loaded()); v.Why != since {
		t.Errorf("proven: %+v", v)
	}
	want := []string{"reuse 0", "reuse 0 " + description, "reuse 0 " + description, "reuse 0", "reuse 0"} // unload, too
	if !slices.Equal(*seen, want) {
		t.Errorf("the kernel saw %q\nwant %q", *seen, want)
	}
}

// A directory for evidence makes up for a key that is missing, as for a kernel
// that cannot hand it over; pstore alone does not.
func TestLoadEncryptedEvidence(t *testing.T) {
	t.Parallel()
	m, seen := encrypted(t)
	m.ring = nil
	missing := "/var/crash cannot be opened after a crash: the volume key of luks-root (LUKS " + luksID + ") is not in root's keyring"
	m.expect("load", result{1, builtLine + "\n", "kdumpctl: " + missing + "; nothing is loaded now, and no fallback set exists\nkdumpctl: Add the option ...\n"})
	if m.isLoaded() {
		t.Error("loaded for pstore alone")
	}
	m.AddDisk()
	m.Write("etc/ukdump.conf", "EVIDENCE=\"/srv/dumps pstore\"\n")
	m.expect("load", result{0, "built ...\nloaded " + setName + " in N s; dumps go to /srv/dumps (log and report only)\n",
		"kdumpctl: warning: " + missing + "\nkdumpctl: warning: Add the option ...\n" +
			"kdumpctl: warning: no target is left for a dump: only log and report are saved, as EVIDENCE says\n"})
	if !slices.Equal(*seen, []string{"reuse 0"}) {
		t.Errorf("the kernel saw %q", *seen)
	}
	if got := m.missing(); got != missing {
		t.Errorf("status says %q", got)
	}
}

// The fallback set warns of the same key as the load after it.
func TestMissingKeyWarnedOnce(t *testing.T) {
	t.Parallel()
	m, _ := encrypted(t)
	m.AddDisk()
	m.Write("etc/ukdump.conf", "TARGET=/var/crash /srv/dumps\n")
	m.load()
	m.reboot()
	m.ring = nil
	m.Write("etc/ukdump.conf", "TARGET=/var/crash /srv/dumps\nDUMP_LEVEL=17\n")
	got := m.kdumpctl("load")
	if got.status != 0 || !strings.Contains(got.stdout, "loaded the fallback set") || strings.Count(got.stderr, "the volume key of luks-root (LUKS") != 1 {
		t.Errorf("got %+v", got)
	}
}

// A kernel that cannot be told to look for the keys again has loaded all the same.
func TestLoadWithOldKeys(t *testing.T) {
	t.Parallel()
	m, _ := encrypted(t)
	m.Write(configfs+"/reuse", "1")
	c := m.ctl()
	c.keys.Write = func(file, value string) error {
		if filepath.Base(file) == "reuse" {
			return unix.EINVAL
		}
		return os.WriteFile(file, []byte(value), 0o600)
	}
	c.Args = []string{"load"}
	if err := c.run(); err == nil || !strings.Contains(err.Error(), "have the kernel look for the volume keys again: invalid argument; still loaded: ") {
		t.Errorf("got %v", err)
	}
	if l := c.store.Loaded(); l == nil || l.Release != buildtest.Release || len(l.Keys) > 0 {
		t.Errorf("loaded.json has %+v", l)
	}
	if got := m.missing(); got != "/var/crash cannot be opened after a crash: the loaded capture kernel lacks the volume key of luks-root" {
		t.Errorf("status says %q", got)
	}
}

// The fallback set does without a key, too, if it has another target.
func TestFallbackWithoutKey(t *testing.T) {
	t.Parallel()
	m, seen := encrypted(t)
	m.AddDisk()
	m.Write("etc/ukdump.conf", "TARGET=/var/crash /srv/dumps\n")
	m.load()
	m.reboot()
	m.ring = nil
	m.Write("etc/ukdump.conf", "x")
	if got := m.kdumpctl("load"); got.status != 1 || !strings.Contains(got.stderr, "loaded instead: the fallback set") ||
		!strings.HasPrefix(got.stderr, "kdumpctl: warning: /var/crash cannot be opened after a crash: the volume key of luks-root") {
		t.Errorf("got %+v", got)
	}
	if want := []string{"reuse 0 " + description, "reuse 0"}; !slices.Equal(*seen, want) {
		t.Errorf("the kernel saw %q", *seen)
	}
}

func TestLoadEncryptedUnsupported(t *testing.T) {
	t.Parallel()
	m, _ := encrypted(t)
	// The capture kernel can, the running one cannot.
	m.Remove(configfs)
	m.Write("sys/kernel/config/other/x", "")
	got := m.kdumpctl("load")
	if got.status != 1 || !strings.Contains(got.stderr, "the running kernel cannot open an encrypted volume without its passphrase: it lacks CONFIG_CRASH_DM_CRYPT") || len(m.calls) > 0 {
		t.Errorf("got %+v", got)
	}
}

// The key itself is nowhere but in the kernel.
func TestNoKeyOnDisk(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef0123456789ABCDEF")
	m, _ := encrypted(t)
	m.ring = nil
	m.inTable = map[string][]byte{luksID: secret}
	m.Write("sys/devices/virtual/block/dm-0/dm/table", "0 4096 crypt aes-xts-plain64 "+hex.EncodeToString(secret)+" 0 254:0 32768\n")
	output := ""
	for _, line := range []string{"load", "status", "status --json", "build --force", "reload"} {
		got := m.kdumpctl(line)
		if got.status != 0 {
			t.Fatalf("%s: %+v", line, got)
		}
		output += got.stdout + got.stderr
	}
	m.err = unix.EINVAL
	output += m.kdumpctl("load").stderr
	contents := []string{output, string(m.initrd), strings.Join(m.calls, "\n")}
	im := initramfs.Open(bytes.NewReader(m.initrd))
	p, err := im.ReadFile(plan.Path, 1<<20)
	if err != nil || !strings.Contains(string(p), description) {
		t.Fatalf("%s, %v", p, err)
	}
	contents = append(contents, string(p))
	for _, dir := range []string{"var/lib/ukdump", configfs} {
		err := filepath.Walk(filepath.Join(m.Root, dir), func(path string, fi os.FileInfo, err error) error {
			if err == nil && fi.Mode().IsRegular() {
				b, rerr := os.ReadFile(path)
				contents, err = append(contents, string(b)), rerr
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(contents) < 7 {
		t.Errorf("only %d files", len(contents))
	}
	for i, s := range contents {
		if strings.Contains(s, string(secret)) || strings.Contains(strings.ToLower(s), hex.EncodeToString(secret)) {
			t.Errorf("%d of %d has the key", i, len(contents))
		}
	}
}

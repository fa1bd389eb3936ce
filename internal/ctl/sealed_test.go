package ctl

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/crashdir"
	"ukdump/internal/debug/debugtest"
	"ukdump/internal/fsid"
	"ukdump/internal/seal"
)

// vault makes keys and encrypts for them, as a capture does.
type vault struct {
	t    testing.TB
	m    *machine
	keys []seal.Recipient
}

// newVault writes the private keys of n recipients to ROOT/key-1.txt and so on, and that of
// somebody else to ROOT/other.txt.
func newVault(t testing.TB, m *machine, n int) *vault {
	v := &vault{t: t, m: m}
	for i := range n + 1 {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		r, err := seal.ParseRecipient(id.Recipient().String())
		if err != nil {
			t.Fatal(err)
		}
		if i == n {
			m.Write("other.txt", id.String()+"\n")
			break
		}
		m.Write(fmt.Sprintf("key-%d.txt", i+1), "# public key: "+id.Recipient().String()+"\n"+id.String()+"\n")
		v.keys = append(v.keys, r)
	}
	return v
}

func (v *vault) seal(content string) string {
	v.t.Helper()
	rand, err := seal.NewRand(make([]byte, seal.SeedSize), 0)
	if err != nil {
		v.t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := seal.NewWriter(&b, rand, v.keys...)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return b.String()
}

const (
	sealedName = "2026-11-20T01-00-00Z"
	sealedLog  = "[    0.000000] Linux version 6.1.0\n[   61.000001] Kernel panic - not syncing: secret reason\n"
)

// dump makes a dump of which the vmcore, the log and the report are encrypted.
func (v *vault) dump(core string) string {
	dir := "var/crash/" + sealedName
	full := captureReport(func(r *crashdir.Report) { r.Panic = crashdir.Panic{Line: "Kernel panic - not syncing: secret reason"} })
	clear := captureReport(func(r *crashdir.Report) { r.ID, r.Panic = "abc-1", crashdir.Panic{} })
	for name, content := range map[string]string{
		"vmcore.age": v.seal(core), "vmcore-dmesg.txt.age": v.seal(sealedLog), "report.json.age": v.seal(full), "report.json": clear,
	} {
		v.m.Write(dir+"/"+name, atCrash(sealedName, content))
	}
	return dir
}

// buildID is that of the kernel in the dumps of these tests.
const buildID = "5bf0c35bd1a0eb1bcd1df5c9a2bca7ac13b1c1ba"

func coreOf() string {
	return string(debugtest.Dump("amd64", buildtest.Release, "#1 SMP", "OSRELEASE="+buildtest.Release+"\nBUILD-ID="+buildID+"\nKERNELOFFSET=1e00000\n"))
}

func TestSealedDump(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := newVault(t, m, 2)
	dir := v.dump(string(flattened(kdump(false))))
	for _, tt := range []struct {
		line string
		want string // part of the output
		no   string // not a part of it
	}{
		{"list", "complete, encrypted", "secret"},
		{"list --json", `"recipients": 2`, "secret"},
		{"info", "vmcore.age, 32.4 KiB, encrypted to 2 keys, not verified beyond its length", "secret"},
		{"info", "panic        encrypted", "secret"},
		{"info --identity ROOT/key-2.txt", "encrypted to 2 keys, flattened", "not verified"},
		{"info --identity ROOT/key-1.txt", "panic        Kernel panic - not syncing: secret reason", ""},
		{"log --identity ROOT/key-1.txt", "secret reason", ""},
		{"report --identity ROOT/key-1.txt", "secret reason", ""},
		{"report --missing", "", "report of"},
	} {
		r := m.kdumpctl(tt.line)
		if r.status != 0 || !strings.Contains(r.stdout, tt.want) || tt.no != "" && strings.Contains(r.stdout+r.stderr, tt.no) {
			t.Errorf("%s: %+v, want %q and not %q", tt.line, r, tt.want, tt.no)
		}
	}
	const give = "kdumpctl: Give --identity FILE with the private key that belongs to one of the recipients.\n"
	core := "ROOT/" + dir + "/vmcore.age"
	m.expect("log", result{1, "", "kdumpctl: ROOT/" + dir + "/vmcore-dmesg.txt.age: encrypted to 2 keys\n" + give})
	m.expect("report", result{1, "", "kdumpctl: open dump " + core + ": encrypted to 2 keys\n" + give})
	m.expect("report "+core, result{1, "", "kdumpctl: open dump " + core + ": encrypted to 2 keys\n" + give})
	m.expect("debug", result{1, "", "kdumpctl: " + core + ": encrypted to 2 keys\n" + give})
	m.expect("debug --identity ROOT/other.txt", result{1, "", "kdumpctl: " + core + ": encrypted to 2 keys, none of which is in ROOT/other.txt\n"})
	m.expect("decrypt "+sealedName, result{2, "", "kdumpctl: decrypt: --identity is missing: give the file that age-keygen has written\n"})
	m.expect("decrypt --identity ROOT/other.txt "+sealedName, result{1, "", "kdumpctl: decrypt vmcore-dmesg.txt.age: encrypted to 2 keys, none of which is in ROOT/other.txt\n"})
	m.expect("info --identity ROOT/none.txt", result{1, "", "kdumpctl: open ROOT/none.txt: no such file or directory\n"})
	// Nothing that was encrypted is on the disk in clear.
	m.files(dir, "report.json report.json.age vmcore-dmesg.txt.age vmcore.age")
}

// files compares the names of the files in a directory of the machine.
func (m *machine) files(dir, want string) {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.Root, dir))
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != want {
		m.t.Errorf("%s has %s, want %s", dir, got, want)
	}
}

func TestDecrypt(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := newVault(t, m, 1)
	const dir = "var/crash/" + sealedName
	const said = "decrypted DIR/vmcore-dmesg.txt, 92 B\ndecrypted DIR/report.json, 810 B\ndecrypted DIR/vmcore, 24.0 KiB\n"
	for _, tt := range []struct {
		name, core, line string
		want             result
		dir, files       string
	}{
		{"flattened", string(flattened(kdump(false))), sealedName, result{0, strings.ReplaceAll(said, "DIR", "ROOT/"+dir), ""},
			dir, "report.json report.json.age vmcore vmcore-dmesg.txt vmcore-dmesg.txt.age vmcore.age"},
		{"as it is", kdump(false), sealedName, result{0, strings.ReplaceAll(said, "DIR", "ROOT/"+dir), ""},
			dir, "report.json report.json.age vmcore vmcore-dmesg.txt vmcore-dmesg.txt.age vmcore.age"},
		{"removed", kdump(false), "--remove " + sealedName, result{0, strings.ReplaceAll(said, "DIR", "ROOT/"+dir), ""},
			dir, "report.json vmcore vmcore-dmesg.txt"},
		{"elsewhere", kdump(false), "--output ROOT/new/dir " + sealedName, result{0, strings.ReplaceAll(said, "DIR", "ROOT/new/dir"), ""},
			"new/dir", "report.json vmcore vmcore-dmesg.txt"},
		{"one file", kdump(false), "-o ROOT/one ROOT/" + dir + "/vmcore.age", result{0, "decrypted ROOT/one/vmcore, 24.0 KiB\n", ""}, "one", "vmcore"},
		{"one log", kdump(false), "-o ROOT/log ROOT/" + dir + "/vmcore-dmesg.txt.age", result{0, "decrypted ROOT/log/vmcore-dmesg.txt, 92 B\n", ""}, "log", "vmcore-dmesg.txt"},
		{"dump that is not whole", kdump(true), "-o ROOT/bad ROOT/" + dir + "/vmcore.age", result{1, "",
			"kdumpctl: decrypt vmcore.age: verify dump: makedumpfile marked it as incomplete\nkdumpctl: The encryption is intact, but the dump is not. The decrypted file is ROOT/bad/vmcore-incomplete.\n"}, "bad", "vmcore-incomplete"},
		{"no dump in it", "text", "-o ROOT/text ROOT/" + dir + "/vmcore.age", result{1, "", "kdumpctl: decrypt vmcore.age: ...\nkdumpctl: The encryption is intact, but the dump is not. The decrypted file is ROOT/text/vmcore-incomplete.\n"}, "text", "vmcore-incomplete"},
		{"file of another name", kdump(false), "ROOT/proc/cmdline", result{1, "", "kdumpctl: decrypt ROOT/proc/cmdline: the name of an encrypted file ends in .age\nkdumpctl: Rename it, for example to vmcore.age.\n"}, "proc/self", "mountinfo"},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			v.dump(tt.core)
			m.expect("decrypt --identity ROOT/key-1.txt "+tt.line, tt.want)
			if tt.files != "mountinfo" {
				m.files(tt.dir, tt.files)
			}
			if strings.Contains(" "+tt.files+" ", " vmcore ") {
				if got := m.Read(tt.dir + "/vmcore"); got != kdump(false) {
					t.Errorf("vmcore has %d bytes", len(got))
				}
				if r := m.kdumpctl("decrypt --identity ROOT/key-1.txt " + tt.line); r.status != 1 {
					t.Errorf("once more: %+v", r)
				}
			}
		})
	}
}

func TestDecryptDamaged(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := newVault(t, m, 1)
	sealed := v.seal(strings.Repeat("x", 150000))
	for _, tt := range []struct {
		name, file, content string
		want                result
		left                int // bytes of vmcore-incomplete
	}{
		{"truncated between chunks", "vmcore.age", sealed[:len(sealed)-150000%65536-16], result{1, "", "kdumpctl: decrypt vmcore.age: truncated: the age file ends behind 131072 bytes of content\nkdumpctl: The part before the damage is in ROOT/srv/vmcore-incomplete.\n"}, 131072},
		{"truncated in a chunk", "vmcore.age", sealed[:100000], result{1, "", "kdumpctl: decrypt vmcore.age: truncated or damaged behind 65536 bytes of content\nkdumpctl: The part before the damage is in ROOT/srv/vmcore-incomplete.\n"}, 65536},
		{"truncated capture", "vmcore.age-incomplete", sealed[:100000], result{0, "decrypted a part of ROOT/srv/vmcore-incomplete: truncated or damaged behind 65536 bytes of content\n", ""}, 65536},
		{"in the header", "vmcore.age", sealed[:50], result{1, "", "kdumpctl: decrypt vmcore.age: the header of the age file is damaged: ...\n"}, -1},
		{"empty", "vmcore.age", "", result{1, "", "kdumpctl: decrypt vmcore.age: not an age file\n"}, -1},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			m.Write("srv/"+tt.file, tt.content)
			m.expect("decrypt --identity ROOT/key-1.txt ROOT/srv/"+tt.file, tt.want)
			fi, err := os.Stat(filepath.Join(m.Root, "srv/vmcore-incomplete"))
			switch {
			case tt.left < 0 && err == nil:
				t.Error("a file was made")
			case tt.left >= 0 && (err != nil || fi.Size() != int64(tt.left)):
				t.Errorf("%v, %v, want %d bytes", fi, err, tt.left)
			}
		})
	}
}

// The debugger reads a copy that has no name.
func TestDebugSealed(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	m := newMachine(t)
	v := newVault(t, m, 1)
	v.dump(coreOf())
	m.look = map[string]bool{"crash": true}
	m.Write("usr/lib/debug/boot/vmlinux-"+buildtest.Release, string(debugtest.Vmlinux(debugtest.Kernel{BuildID: buildID, Release: buildtest.Release, DWARF: true})))
	c := m.ctl()
	var stderr bytes.Buffer
	c.Stderr = &stderr
	c.Args = []string{"debug", "--identity", m.Root + "/key-1.txt"}
	opened := ""
	c.exec = func(_ string, args []string) error {
		b, err := os.ReadFile(args[len(args)-1])
		opened = string(b)
		return err
	}
	if status := c.End(c.run()); status != 0 || opened != coreOf() {
		t.Errorf("status %d, %d bytes, %s", status, len(opened), stderr.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	r := m.kdumpctl("debug --print --identity ROOT/key-1.txt")
	if r.status != 0 || !strings.Contains(r.stderr, "crash cannot read encrypted dumps") {
		t.Errorf("--print: %+v", r)
	}
}

func TestExportSealed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := newVault(t, m, 1)
	v.dump(kdump(false))
	for i, tt := range []struct{ name, options, files string }{
		{"encrypted", "--vmcore", "kernel-config report.json report.json.age vmcore-dmesg.txt.age vmcore.age"},
		{"decrypted", "--vmcore --identity ROOT/key-1.txt", "kernel-config report.json vmcore vmcore-dmesg.txt"},
		{"scrubbed", "--scrub", "kernel-config report.json"},
		{"decrypted and scrubbed", "--scrub --identity ROOT/key-1.txt", "kernel-config report.json vmcore-dmesg.txt"},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			dir := fmt.Sprintf("in-%d", i)
			if r := m.kdumpctl("export -o ROOT/" + dir + ".tar.zst " + tt.options + " " + sealedName); r.status != 0 {
				t.Fatal(r)
			}
			if r := m.kdumpctl("import --dir ROOT/" + dir + " ROOT/" + dir + ".tar.zst"); r.status != 0 {
				t.Fatal(r)
			}
			if err := os.RemoveAll(filepath.Join(m.Root, dir, sealedName, "config")); err != nil {
				t.Fatal(err)
			}
			m.files(dir+"/"+sealedName, tt.files)
		})
	}
}

func TestImportSealed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := newVault(t, m, 1)
	sealed := v.seal(kdump(false))
	for i, tt := range []struct{ name, content, want, outcome, warning string }{
		{"whole", sealed, "vmcore.age", "complete by its length: the encrypted content was not read", ""},
		{"of an impossible length", sealed[:190], "vmcore.age-incomplete", "incomplete", "the vmcore is not whole: ROOT/in-1/"},
	} {
		m.run(t, tt.name, func(t *testing.T) {
			dir := fmt.Sprintf("in-%d", i)
			m.Write("core", tt.content)
			r := m.kdumpctl("import --dir ROOT/" + dir + " ROOT/core")
			made, err := filepath.Glob(filepath.Join(m.Root, dir, "*"))
			if r.status != 0 || !strings.HasSuffix(r.stdout, ", "+tt.outcome+"\n") || (r.stderr == "") != (tt.warning == "") || !strings.Contains(r.stderr, tt.warning) || err != nil || len(made) != 1 {
				t.Fatalf("%+v, %v, %v", r, made, err)
			}
			m.files(dir+"/"+filepath.Base(made[0]), tt.want)
		})
	}
}

func TestAnnounceSealed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	v := newVault(t, m, 2)
	j := newJournald(t, m)
	m.announce(j) // later crashes are new
	v.dump(kdump(false))
	r := m.kdumpctl("announce")
	if got := fmt.Sprint(j.entries()); !strings.Contains(got, "the reason is encrypted; the dump is complete, encrypted to 2 keys") {
		t.Errorf("%s, %+v", got, r)
	}
}

func TestCollectSealed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(d *raw)
		want   crashdir.Outcome
		files  string
		kept   bool // the device keeps its dump
	}{
		{"whole", func(*raw) {}, crashdir.Complete, "kexec-dmesg.log report.json vmcore-dmesg.txt.age vmcore.age", false},
		{"cut by the capture", func(d *raw) { d.stream, d.complete = d.stream[:1000], false }, crashdir.Incomplete, "kexec-dmesg.log report.json vmcore-dmesg.txt.age vmcore.age-incomplete", false},
		{"of an impossible length", func(d *raw) { d.stream = d.stream[:190] }, crashdir.Incomplete, "kexec-dmesg.log report.json vmcore-dmesg.txt.age vmcore.age-incomplete", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := collecting(t)
			v := newVault(t, m, 1)
			d := goodRaw()
			d.log = v.seal(sealedLog)
			d.stream = []byte(v.seal(string(flattened(kdump(false)))))
			tt.change(&d)
			path := m.dump("vdz1", d)
			r := m.kdumpctl("collect")
			got := m.only()
			if got.Outcome != tt.want || got.Report == nil || got.Report.Outcome != tt.want {
				t.Errorf("%s, %+v", got.Outcome, r)
			}
			m.files("var/crash/"+got.Name, tt.files)
			if kept := head(t, path) == fsid.RawDump; kept != tt.kept {
				t.Errorf("the device keeps its dump: %v, %+v", kept, r)
			}
			if tt.want != crashdir.Complete {
				return
			}
			if r := m.kdumpctl("decrypt --identity ROOT/key-1.txt " + got.Name); r.status != 0 || m.Read("var/crash/"+got.Name+"/vmcore") != kdump(false) {
				t.Errorf("%+v", r)
			}
		})
	}
}

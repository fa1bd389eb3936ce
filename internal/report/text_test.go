package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"ukdump/internal/cli"
)

var update = flag.Bool("update", false, "write the golden files again")

func ptr[T any](v T) *T { return &v }

// fixture is a report with each kind of content.
func fixture() *Report {
	when := time.Date(2026, 11, 29, 12, 12, 6, 0, time.UTC)
	return &Report{
		Version: Version, Software: "0.1.0",
		Dump:        Dump{Format: "kdump compressed", Level: 31},
		Fingerprint: &Fingerprint{ID: "v1:0123456789abcdef", Kind: "BUG: kernel NULL pointer dereference, address: N", Frames: []string{"bad_function", "do_init_module"}, Source: SourceStack},
		Crash: Crash{Panic: "Kernel panic - not syncing: Fatal exception", Cause: "BUG: kernel NULL pointer dereference, address: 0000000000000008",
			Instruction: "RIP: 0010:bad_function+0x10/0x20 [bad]", Time: &when, UptimeSeconds: ptr(93784.5), CPU: ptr(1)},
		Kernel: Kernel{Release: "6.12.118+deb13-amd64", BuildID: "00112233445566778899aabbccddeeff00112233",
			Banner: "Linux version 6.12.118+deb13-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0) #1 SMP",
			Taints: taints(1<<12 | 1<<13), CommandLine: "root=/dev/vda1 ro cifs.password=* quiet", Secrets: 1,
			Modules: []Module{{Name: "bad", SrcVersion: "0123456789ABCDEF0123456", Bytes: 16384, Taints: "OE", State: "coming"}, {Name: "virtio_blk", Version: "1", Bytes: 32768}}},
		Machine: Machine{Arch: "amd64", Host: "db1", Hardware: "QEMU Standard PC (Q35 + ICH9, 2009)", CPUs: ptr(3), MemoryBytes: ptr(uint64(1 << 30))},
		CPUs: []CPU{
			{Number: 1, Panicked: true, Task: &TaskID{PID: 136, TGID: 136, Comm: "insmod"}, Stack: &Stack{Method: "ORC", Frames: []Frame{
				{Address: 0xffffffff81000010, Function: "crash_kexec", Offset: 0x10, Size: 0x90, Reliable: true, Interrupted: true, Stack: "NMI"},
				{Address: 0xffffffffc0000010, Function: "bad_function", Offset: 0x10, Size: 0x20, Module: "bad", Reliable: true, Interrupted: true},
				{Address: 0xffffffff81000300, Function: "vfs_write", Offset: 0x100, Size: 0x400},
				{Address: 0xffffffffc0abc000}}, End: "the frame pointer leaves the stack", Omitted: 3}},
			{Number: 0, Idle: true, Task: &TaskID{Comm: "swapper/0"}}, {Number: 2, Idle: true},
			{Number: 3, User: true, Task: &TaskID{PID: 99, TGID: 90, Comm: "worker"}, Note: "registers are not in the dump"},
		},
		Tasks: &Tasks{Total: 120, States: []StateCount{{"S (sleeping)", 70}, {"I (idle)", 48}, {"D (disk sleep)", 2}},
			Blocked: []Task{
				{TaskID: TaskID{PID: 50, TGID: 50, Comm: "dd"}, State: "D (disk sleep)", BlockedSeconds: ptr(200.0),
					Waits: &Wait{Kind: "mutex", Lock: 0xffff888001234568, Symbol: "bad_lock+0x0/0x20 [bad]", Owner: &TaskID{PID: 51, TGID: 51, Comm: "cp"}, OwnerBlocked: true},
					Stack: &Stack{Method: "ORC", Frames: []Frame{{Address: 1, Function: "__schedule", Offset: 1, Size: 2, Reliable: true}}, Complete: true}},
				{TaskID: TaskID{PID: 51, TGID: 51, Comm: "cp"}, State: "D (disk sleep)", Waits: &Wait{Note: "the kernel does not record it"}, Note: "stack is not in the dump"}},
			Omitted: 1},
		Memory: &Memory{Total: ptr(uint64(1 << 30)), Free: ptr(uint64(600 << 20)), PageCache: ptr(uint64(0)), SlabReclaimable: ptr(uint64(3 << 20)), SlabFixed: ptr(uint64(5 << 20)),
			Zones:     []Zone{{0, "DMA32", 1 << 20, 2 << 20, 3 << 20, 4 << 20, 5 << 20}},
			Slabs:     []Slab{{"dentry", 4 << 20, 21000, 192}, {Name: "old", Bytes: 4096, ObjectBytes: 64}},
			Processes: []Process{{TaskID{136, 136, "insmod"}, 8 << 20, 1 << 20, 0}},
			HugePages: []HugePages{{2 << 20, 10, 4, 1, 0}}},
		Mounts: []Mount{{"/dev/vda1", "/", "ext4", false}, {"tmpfs", "/run", "tmpfs", true}},
		Disks: []Disk{{Name: "vda", Bytes: 3 << 30, Requests: []Request{{Op: "write", Sector: ptr(uint64(4096)), Bytes: 8192, AgeSeconds: ptr(190.25), Tag: 7}, {Op: "flush", Tag: 8}}, Omitted: 2},
			{Name: "vdb", Bytes: 1 << 20}, {Name: "dm-0", Bytes: 1 << 30, ReadOnly: true, Note: "requests are known of the disks below it only"}},
		Log:      []Line{{1.5, 6, "usb 1-1: new device"}, {93784.5, 0, "  indented <x>"}},
		Problems: []Problem{{"huge pages", "symbol hstates: not found"}},
	}
}

func TestWriteText(t *testing.T) { golden(t, "report.txt", text(t, fixture())) }

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := cli.WriteJSON(&b, fixture()); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b.String())
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || !reflect.DeepEqual(&back, fixture()) {
		t.Errorf("read back: %v", err)
	}
}

// Of an empty report nothing is claimed.
func TestWriteTextEmpty(t *testing.T) { golden(t, "empty.txt", text(t, &Report{})) }

func text(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// fill puts a string into every text and a number into every number of v.
func fill(v reflect.Value, s string, n uint64) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Int:
		v.SetInt(int64(n))
	case reflect.Uint64:
		v.SetUint(n)
	case reflect.Float64:
		v.SetFloat(float64(n) / 7)
	case reflect.Bool:
		v.SetBool(n%2 == 1)
	case reflect.Pointer:
		if v.Type() != reflect.TypeFor[*time.Time]() {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), s, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), s, n+uint64(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), s, n)
		}
	}
}

// FuzzReport prints reports with hostile texts and numbers: no line has a character that a
// terminal obeys.
func FuzzReport(f *testing.F) {
	f.Add("\x1b[2J\r\n\u202eword", uint64(1)<<63)
	f.Add(strings.Repeat("x", 300), uint64(3))
	f.Add("", uint64(0))
	f.Fuzz(func(t *testing.T, s string, n uint64) {
		r := new(Report)
		fill(reflect.ValueOf(r).Elem(), s, n)
		out := text(t, r)
		for _, c := range out {
			if c != '\n' && !unicode.IsPrint(c) && c != utf8.RuneError {
				t.Fatalf("character %q", c)
			}
		}
		if err := cli.WriteJSON(new(bytes.Buffer), r); err != nil {
			t.Fatal(err)
		}
	})
}

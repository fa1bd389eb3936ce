package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func valid() *Plan {
	return &Plan{
		Version: Version, Software: Software,
		Kernel:  Kernel{Release: "6.1.0-42-amd64", Arch: "amd64"},
		Host:    Host{Name: "db1", MachineID: "0123456789abcdef0123456789abcdef"},
		Modules: []Module{{Name: "virtio_blk", Path: "lib/modules/00-virtio_blk.ko", Params: "queue_depth=8"}},
		Targets: []Target{{
			Kind:       Directory,
			Dir:        "/var/crash",
			Filesystem: Filesystem{Type: "btrfs", UUID: "6f1d7c1e-2b7a-4f0e-9a53-0d9d1a2b3c4d", Options: "subvolid=256"},
			Path:       "/var/crash",
			Device:     Device{Name: "vda1", Path: "pci0000:00/0000:00:04.0/virtio1/block/vda/vda1"},
		}, {
			Kind:       Raw,
			Dir:        "raw:swap",
			Filesystem: Filesystem{Type: "swap", UUID: "0aa5c26b-5a2e-4b0d-8d7e-3f1c2b4a5d6e"},
			Device:     Device{Name: "vda2", Path: "pci0000:00/0000:00:04.0/virtio1/block/vda/vda2", PartUUID: "b921b045-1df0-41c3-af44-4c6f280d3fae"},
		}},
		Evidence: []Target{{
			Kind:       Directory,
			Dir:        "/boot/efi",
			Filesystem: Filesystem{Type: "vfat", UUID: "ABCD-1234"},
			Path:       "/",
			Device:     Device{Name: "vda3"},
		}},
		Pstore:    true,
		MakeSpace: true,
		Collectors: []Collector{
			{
				Name: "makedumpfile -l -d 31", Filters: true,
				Argv:   []string{"/bin/makedumpfile", "-L", LimitArg, "-l", "-d", "31", VmcoreArg, OutputArg},
				Stream: []string{"/bin/makedumpfile", "-F", "-l", "-d", "31", VmcoreArg},
			},
			{Name: "copy", Argv: CopyArgv, Stream: CopyStream, Resumes: true},
		},
		Watchdogs:     []Watchdog{{Name: "watchdog0", Identity: "i6300ESB timer", Timeout: 30}},
		Deadlines:     Deadlines{Total: 900, Module: 20, Device: 30, Mount: 120, Stall: 120, Finish: 120},
		FinalAction:   Reboot,
		FailureAction: Reboot,
		ShellTimeout:  600,
	}
}

// logOnly is a plan for the kernel log alone.
func logOnly() *Plan {
	p := valid()
	p.LogOnly, p.Collectors = true, nil
	return p
}

func TestGolden(t *testing.T) {
	for name, p := range map[string]*Plan{"plan.json": valid(), "log-only.json": logOnly()} {
		golden(t, filepath.Join("testdata", name), p)
	}
}

func golden(t *testing.T, file string, p *Plan) {
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != string(want) {
		t.Errorf("%s: the format changed without a new Version:\n%s", file, b)
	}
	p, err = Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Encode()
	if err != nil || string(again) != string(want) {
		t.Errorf("%s: parse and encode is not the identity: %v\n%s", file, err, again)
	}
}

// Collectors and LogOnly exclude each other.
func TestLogOnly(t *testing.T) {
	for _, p := range []*Plan{valid(), logOnly()} {
		p.LogOnly = !p.LogOnly
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "log_only") {
			t.Errorf("%d collectors, LogOnly %v: got %v", len(p.Collectors), p.LogOnly, err)
		}
	}
}

// One processor must be enough, and the quick ones run only after a slow one.
func TestParallel(t *testing.T) {
	p := valid()
	p.Collectors[0].Parallel = true
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	p.Collectors[1].Quick = true
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "leave none for one processor") {
		t.Errorf("got %v", err)
	}
}

func TestParseErrors(t *testing.T) {
	good, err := valid().Encode()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, old, new, want string }{
		{"empty", string(good), "", "parse plan"},
		{"cut off", string(good), string(good[:len(good)/2]), "parse plan"},
		{"other version", `"version": 3`, `"version": 2`, "format version 2"},
		{"unknown field", `"host": {`, `"hosts": {`, `unknown field "hosts"`},
		{"trailing data", "\n}\n", "\n}\n{}", "after top-level value"},
		{"module outside the image", `lib/modules/00-virtio_blk.ko`, `../x.ko`, "modules[0].path"},
		{"absolute module", `lib/modules/00-virtio_blk.ko`, `/x.ko`, "modules[0].path"},
		{"target path not clean", `"path": "/var/crash"`, `"path": "/var/../etc"`, "targets[0].path"},
		{"target path relative", `"path": "/var/crash"`, `"path": "crash"`, "targets[0].path"},
		{"no UUID", "6f1d7c1e-2b7a-4f0e-9a53-0d9d1a2b3c4d", "", "uuid is empty"},
		{"unknown kind", `"kind": "raw"`, `"kind": "tape"`, `targets[1].kind is "tape"`},
		{"raw evidence", `"kind": "directory",
			"dir": "/boot/efi"`, `"kind": "raw",
			"dir": "/boot/efi"`, `evidence[0].kind`},
		{"evidence without path", `"path": "/",`, ``, "evidence[0].path"},
		{"stream to a file", `"-F",`, `"%output",`, "collectors[0].stream names"},
		{"no output", `"%output"`, `"x"`, "names %output 0 times"},
		{"relative collector", `"/bin/makedumpfile"`, `"makedumpfile"`, "absolute path"},
		{"no deadline", `"stall": 120`, `"stall": 0`, "deadlines.stall"},
		{"huge deadline", `"stall": 120`, `"stall": 9999999`, "deadlines.stall"},
		{"shell timeout", `"shell_timeout": 600`, `"shell_timeout": -1`, "shell_timeout"},
		{"action", `"final_action": "reboot"`, `"final_action": "shell"`, "final_action"},
		{"architecture", `"arch": "amd64"`, `"arch": "x86_64"`, "kernel.arch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := strings.Replace(string(good), tt.old, tt.new, 1)
			if in == string(good) {
				t.Fatalf("%q is not in the plan", tt.old)
			}
			_, err := Parse([]byte(in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// A raw device is overwritten, so one that cannot be told from another is none.
func TestRawIdentity(t *testing.T) {
	for _, tt := range []struct {
		partUUID, uuid string
		ok             bool
	}{{"p", "u", true}, {"p", "", true}, {"", "u", true}, {"", "", false}} {
		p := valid()
		p.Targets[1].Device.PartUUID, p.Targets[1].Filesystem.UUID = tt.partUUID, tt.uuid
		if err := p.Validate(); (err == nil) != tt.ok {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
}

func TestVersionError(t *testing.T) {
	_, err := Parse([]byte(`{"version": 7, "whatever": true}`))
	var ve *VersionError
	if !errors.As(err, &ve) || ve.Got != 7 {
		t.Errorf("got %v, want a VersionError of 7", err)
	}
}

func FuzzParse(f *testing.F) {
	b, err := valid().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		b, err := p.Encode()
		if err != nil {
			t.Fatalf("a plan that was parsed cannot be encoded: %v", err)
		}
		if _, err := Parse(b); err != nil {
			t.Fatalf("what was encoded cannot be parsed: %v", err)
		}
	})
}

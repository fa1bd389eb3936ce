package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is the output of go list -json for a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// PID 1 lies in memory that is reserved and never used until a crash: whoever
// adds an import here makes every machine pay for it.
func TestImportsOfPID1(t *testing.T) {
	ours := []string{
		"ukdump/cmd/kdumpinit", "ukdump/internal/capture", "ukdump/internal/crashdir", "ukdump/internal/dm", "ukdump/internal/dumpfile", "ukdump/internal/evidence",
		"ukdump/internal/lvm", "ukdump/internal/fsid", "ukdump/internal/makedumpfile", "ukdump/internal/plan", "ukdump/internal/rawdump", "ukdump/internal/vmcore",
		"golang.org/x/sys/unix",
	}
	// Each of them alone would go over the limit, or has no place in PID 1.
	never := []string{"net", "net/http", "os/exec", "text/template", "encoding/gob", "encoding/xml", "regexp", "debug/elf", "crypto/tls"}
	for _, p := range goList(t, "-deps", ".") {
		if !p.Standard && !slices.Contains(ours, p.ImportPath) {
			t.Errorf("kdumpinit imports %s", p.ImportPath)
		}
		if slices.Contains(never, p.ImportPath) {
			t.Errorf("kdumpinit imports %s", p.ImportPath)
		}
	}
}

func TestLayers(t *testing.T) {
	// Packages on which both sides of a crash agree need only the standard library.
	plain := []string{"ukdump/internal/plan", "ukdump/internal/fsid", "ukdump/internal/vmcore",
		"ukdump/internal/advice", "ukdump/internal/target"}
	// These need the standard library and the packages of ours that are listed.
	only := map[string][]string{
		"ukdump/internal/crashdir":     {"golang.org/x/sys/unix"},
		"ukdump/internal/dumpfile":     {"ukdump/internal/vmcore"},
		"ukdump/internal/makedumpfile": {"ukdump/internal/vmcore"},
		"ukdump/internal/evidence":     {"ukdump/internal/crashdir", "ukdump/internal/vmcore"},
		"ukdump/internal/rtnl":         {"golang.org/x/sys/unix"},
		"ukdump/internal/netconf":      {"golang.org/x/sys/unix", "ukdump/internal/netplan", "ukdump/internal/rtnl"},
		"ukdump/internal/seal":         {"golang.org/x/crypto/chacha20", "golang.org/x/crypto/chacha20poly1305", "golang.org/x/sys/unix"},
	}
	for _, p := range goList(t, "ukdump/...") {
		allowed, pinned := only[p.ImportPath]
		for _, imp := range p.Imports {
			foreign := strings.Contains(imp, ".") || strings.HasPrefix(imp, "ukdump/")
			switch {
			case imp == "ukdump/internal/capture" && !slices.Contains([]string{"ukdump/cmd/kdumpinit", "ukdump/cmd/kdumpinit-net", "ukdump/internal/uplink"}, p.ImportPath):
				t.Errorf("%s imports capture: that code is for PID 1 alone", p.ImportPath)
			case strings.HasPrefix(imp, "filippo.io/age") && p.ImportPath != "ukdump/internal/unseal":
				t.Errorf("%s imports %s: unseal hides that library", p.ImportPath, imp)
			case slices.Contains(plain, p.ImportPath) && foreign:
				t.Errorf("%s imports %s: it needs nothing but the standard library", p.ImportPath, imp)
			case pinned && foreign && !slices.Contains(allowed, imp):
				t.Errorf("%s imports %s: of ours it may import %s only", p.ImportPath, imp, allowed)
			}
		}
	}
}

// The work of kdumpctl is in packages below ctl, which has the verbs and prints. None
// of them knows a verb, and only these know each other.
func TestLayersOfKdumpctl(t *testing.T) {
	below := map[string][]string{
		"ukdump/internal/state":    nil,
		"ukdump/internal/load":     {"ukdump/internal/state"},
		"ukdump/internal/verify":   {"ukdump/internal/state", "ukdump/internal/load"},
		"ukdump/internal/collect":  {"ukdump/internal/state"},
		"ukdump/internal/announce": {"ukdump/internal/state"},
	}
	for _, p := range goList(t, "ukdump/...") {
		for _, imp := range p.Imports {
			_, work := below[imp]
			switch {
			case imp == "ukdump/internal/ctl" && p.ImportPath != "ukdump/cmd/kdumpctl":
				t.Errorf("%s imports ctl: that is for the command line alone", p.ImportPath)
			case work && p.ImportPath != "ukdump/internal/ctl" && !slices.Contains(below[p.ImportPath], imp) && imp != "ukdump/internal/state":
				t.Errorf("%s imports %s", p.ImportPath, imp)
			case p.ImportPath == "ukdump/internal/state" && slices.Contains([]string{"ukdump/internal/builder", "ukdump/internal/host", "ukdump/internal/kexec"}, imp):
				t.Errorf("state imports %s: it remembers and knows no machine", imp)
			}
		}
	}
}

func TestSizeOfPID1(t *testing.T) {
	// LVM, md, bcache, dm-crypt and emergency mode took the last 100 KB; lvm and
	// mdadm with their libraries would be 4 MB.
	testSize(t, "kdumpinit", 27<<20/10) // 2.7 MiB
}

func TestSizeOfPID1WithNetwork(t *testing.T) {
	// SSH and SFTP are 2.2 MiB of it, TLS and HTTP 0.9. Images without a
	// target at a server have nothing of it.
	testSize(t, "kdumpinit-net", 64<<20/10) // 6.4 MiB
}

func testSize(t *testing.T, program string, limit int64) {
	t.Helper()
	for _, arch := range []string{"amd64", "arm64"} {
		dir := t.TempDir()
		file := filepath.Join(dir, program)
		cmd := exec.Command("make", "-s", "-C", "../..", "BIN="+dir, file)
		cmd.Env = append(os.Environ(), "GOARCH="+arch, "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		fi, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Size() > limit {
			t.Errorf("%s: %d bytes, the limit is %d: make size shows what weighs", arch, fi.Size(), limit)
		}
		t.Logf("%s: %d of %d bytes", arch, fi.Size(), limit)
	}
}

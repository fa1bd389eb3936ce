package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/kmod"
)

var update = flag.Bool("update", false, "write the golden files")

// TestRecordedHosts looks at the machines in testdata/hosts, which
// testdata/record.sh recorded, and compares with testdata/NAME.json.
func TestRecordedHosts(t *testing.T) {
	hosts, err := os.ReadDir("testdata/hosts")
	if err != nil {
		t.Fatal(err)
	}
	if len(hosts) == 0 {
		t.Fatal("no recorded hosts")
	}
	for _, d := range hosts {
		t.Run(d.Name(), func(t *testing.T) {
			h, err := Open(filepath.Join("testdata", "hosts", d.Name()))
			if err != nil {
				t.Fatal(err)
			}
			// The directories that overlays have in common with their upper ones.
			same, _ := h.read("/overlay")
			h.sameDir = func(overlay, upper string) bool {
				rel := func(p string) string { return path.Join("/", strings.TrimPrefix(p, filepath.Clean(h.root))) }
				return slices.Contains(strings.Split(same, "\n"), rel(overlay)+" "+rel(upper))
			}
			var got struct {
				Advice    string         `json:"advice,omitempty"`
				Error     string         `json:"error,omitempty"`
				Storage   *Storage       `json:"storage,omitempty"`
				Requests  []kmod.Request `json:"requests,omitempty"`
				Swap      *Raw           `json:"swap,omitempty"`
				NoSwap    string         `json:"no_swap,omitempty"`
				Watchdogs []Watchdog     `json:"watchdogs,omitempty"`
			}
			got.Storage, err = h.Storage("/var/crash")
			if err != nil {
				got.Error = err.Error()
				u := (*UnsupportedError)(nil)
				if !errors.As(err, &u) {
					t.Fatalf("%v is not an *UnsupportedError", err)
				}
				got.Advice = u.Advice()
			} else {
				got.Requests = got.Storage.Requests()
			}
			got.Swap, err = h.Raw(parsed(t, "raw:swap"), false)
			if none := (*NoSwapError)(nil); errors.As(err, &none) && len(none.Tried) > 0 {
				got.NoSwap = err.Error()
			} else if err != nil && none == nil {
				t.Error(err)
			}
			if got.Watchdogs, err = h.Watchdogs(); err != nil {
				t.Error(err)
			}
			b, err := json.MarshalIndent(got, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, '\n')
			golden := filepath.Join("testdata", d.Name()+".json")
			if *update {
				if err := os.WriteFile(golden, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, want) {
				t.Errorf("got %s\nwant %s", b, want)
			}
		})
	}
}

func TestFacts(t *testing.T) {
	h, err := Open("testdata/hosts/virtio-blk-ext4")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		get  func() (string, error)
		want string
	}{
		{"name", h.Name, "recorded"},
		{"machine-id", h.MachineID, "0123456789abcdef0123456789abcdef"},
		{"kernel", h.Kernel, "6.1.0-50-amd64"},
	} {
		if got, err := tt.get(); got != tt.want || err != nil {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
	}
	if n, err := h.Memory(); err != nil || n < 512<<20 || n > 1024<<20 {
		t.Errorf("memory: got %d, %v", n, err)
	}
	if _, err := Open("testdata/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no root: %v", err)
	}
	if _, err := Open("testdata/record.sh"); err == nil {
		t.Error("a file is a host")
	}
	for file, want := range map[string]string{"# ours\n\n db1 \ndb2\n": "db1", "\n": "", "": ""} {
		named := machine(t, map[string]string{"etc/hostname": file, "proc/sys/kernel/hostname": "dhcp-17\n"})
		if name, err := named.Name(); name != want || err != nil {
			t.Errorf("%q: got %q, %v", file, name, err)
		}
	}
	if name, err := machine(t, more("proc/sys/kernel/hostname", "dhcp-17\n")).Name(); name != "" || err != nil {
		t.Errorf("no file: got %q, %v", name, err)
	}
	bad := machine(t, map[string]string{"etc/machine-id": "uninitialized\n", "proc/meminfo": "MemFree: 1 kB\n"})
	if id, err := bad.MachineID(); err == nil {
		t.Errorf("machine-id %q", id)
	}
	if n, err := bad.Memory(); err == nil {
		t.Errorf("memory %d", n)
	}
}

package capture

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"ukdump/internal/plan"
)

func TestCheckSegments(t *testing.T) {
	header := make([]byte, 16384)
	copy(header, "LUKS\xba\xbe\x00\x02\x00\x00\x00\x00\x00\x00\x40\x00")
	copy(header[4096:], `{"segments":{"0":{"type":"crypt"}}}`)
	dev := filepath.Join(t.TempDir(), "dev")
	if err := os.WriteFile(dev, header, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkSegments(dev, `{"0":{"type":"crypt"}}`); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`{"0":{"type":"linear"}}`, `{"0":{"type":"crypt"}}}}`} {
		if err := checkSegments(dev, want); err == nil || !strings.Contains(err.Error(), "encryption has changed") {
			t.Errorf("%q: %v", want, err)
		}
	}
	if err := checkSegments(dev+"x", ""); err == nil {
		t.Error("no device, no error")
	}
}

// A kernel to which no keys were handed over must not look for them at address 0.
func TestTakeKeysWithout(t *testing.T) {
	dir := t.TempDir()
	restore := filepath.Join(dir, "crash_dm_crypt_keys/restore")
	if err := os.MkdirAll(filepath.Dir(restore), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(restore, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("only amd64 has them on the command line")
	}
	if err := takeKeys(dir); err == nil || !strings.Contains(err.Error(), "none were handed over") {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(restore); string(b) != "0" {
		t.Errorf("restore is %q", b)
	}
}

// The header is looked for on the assembled device, not on its legs.
func TestLUKSOnMirror(t *testing.T) {
	l := &plan.Layer{Kind: plan.Crypt, UUID: "11111111-2222-4333-8444-555555555555", Members: []plan.Device{
		{ID: "11111111-2222-4333-8444-555555555555", Name: "dm-6", Path: "virtual/block/dm-6"},
	}}
	header := make([]byte, 64<<10)
	copy(header, "LUKS\xba\xbe\x00\x02")
	copy(header[168:], l.UUID)
	s := machineWith(t, aDisk{"dm-1", "virtual0", 512, 0, 7, ""}, aDisk{"dm-4", "virtual1", 512, 0, 7, ""})
	for _, name := range []string{"dm-1", "dm-4"} {
		f, err := os.OpenFile(filepath.Join(s.dev, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(header, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	s.made = []string{"dm-4"}
	if got := s.luks(l); got != "dm-4" {
		t.Errorf("got %q", got)
	}
}

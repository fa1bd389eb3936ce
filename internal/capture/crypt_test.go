package capture

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
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
		if err := checkSegments(dev, want); err == nil || !strings.Contains(err.Error(), "another way") {
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

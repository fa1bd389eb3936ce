package host

import (
	"os"
	"path/filepath"
	"testing"
)

// Only links that survive the reboot start a unit then.
func TestUnitEnabled(t *testing.T) {
	const wants = "systemd/system/multi-user.target.wants/x.service"
	for dir, want := range map[string]bool{"etc": true, "usr/lib": true, "run": false, "": false} {
		root := t.TempDir()
		names := []string{"run/systemd/system/x"}
		if dir != "" {
			names = append(names, filepath.Join(dir, wants))
		}
		for _, name := range names {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := UnitEnabled(root, "x.service"); got != want {
			t.Errorf("/%s: got %v, want %v", dir, got, want)
		}
	}
}

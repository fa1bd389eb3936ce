package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/kexec"
	"ukdump/internal/load"
)

// Nothing is captured as long as nothing is loaded.
func TestEventsLoaded(t *testing.T) {
	for loaded, want := range map[string]string{
		"1\n": "captured: panic",
		"0\n": "captured once a capture kernel is loaded: panic",
		"":    "captured once a capture kernel is loaded: panic",
	} {
		root := t.TempDir()
		for name, text := range map[string]string{"sys/kernel/kexec_crash_loaded": loaded, "proc/sys/kernel/panic_on_oops": "0\n"} {
			if text == "" {
				continue
			}
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		v := &Run{Loader: &load.Loader{Root: root, Slot: kexec.New(root)}}
		v.checkSlot()
		v.checkEvents()
		found := false
		for _, f := range v.Findings {
			found = found || f.Topic == "events" && strings.HasPrefix(f.Text, want)
		}
		if !found {
			t.Errorf("loaded %q: %+v", loaded, v.Findings)
		}
	}
}

package announce

import (
	"os"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/pstore"
)

// Evidence that cannot be saved leaves no dump.
func TestWriteEvidenceFails(t *testing.T) {
	parent := t.TempDir()
	l := pstore.Log{Text: make([]byte, 33<<20)}
	buildtest.FullDisk(t, func() {
		if d, err := writeEvidence(parent, l, evidenceReport(pstore.Log{})); err == nil {
			t.Errorf("wrote %s", d.Path)
		}
	})
	if ents, err := os.ReadDir(parent); err != nil || len(ents) > 0 {
		t.Errorf("left %v, %v", ents, err)
	}
}

package builder

import (
	"bytes"
	"io"
	"testing"

	"ukdump/initramfs"
	"ukdump/internal/plan"
)

// FuzzInspect reads images that somebody else may have put in the place of ours.
func FuzzInspect(f *testing.F) {
	im := new(initramfs.Image)
	if err := im.AddFile(plan.Path, []byte("{}"), 0o600); err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := im.Write(&b, initramfs.None); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("070701"))
	f.Fuzz(func(t *testing.T, image []byte) {
		c, err := Inspect(initramfs.Open(io.LimitReader(bytes.NewReader(image), 1<<20)))
		if err == nil && (len(c.Fingerprint) != 64 || len(c.Plan) > maxPlan) {
			t.Errorf("%+v", c)
		}
	})
}

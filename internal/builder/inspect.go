package builder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"ukdump/initramfs"
	"ukdump/internal/plan"
)

// maxPlan bounds the plan of an image, in bytes.
const maxPlan = 1 << 20

// Contents describes an unpacked image.
type Contents struct {
	Fingerprint string // of names, modes and contents
	Unpacked    int64  // bytes of all files
	Plan        []byte // the file plan.Path; nil if there is none
}

// Inspect reads an image to its end. The error is that of reading a damaged
// image.
func Inspect(r *initramfs.Reader) (*Contents, error) {
	c := new(Contents)
	h := sha256.New()
	for {
		e, err := r.Next()
		if err == io.EOF {
			c.Fingerprint = hex.EncodeToString(h.Sum(nil))
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(h, "%q %o %d %q\n", e.Path, e.Mode, e.Size, e.Link)
		var body io.Reader = r
		if e.Path == plan.Path {
			if c.Plan, err = io.ReadAll(io.LimitReader(r, maxPlan)); err != nil {
				return nil, err
			}
			body = io.MultiReader(bytes.NewReader(c.Plan), r)
		}
		n, err := io.Copy(h, body)
		if err != nil {
			return nil, err
		}
		c.Unpacked += n
	}
}

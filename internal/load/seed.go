package load

import (
	"bytes"
	"crypto/rand"
	"os"

	"ukdump/initramfs"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/seal"
)

// encrypts reports whether a plan has recipients.
func encrypts(p *plan.Plan) bool {
	r, err := netplan.Of(p.Remote)
	return err == nil && len(r.Recipients) > 0
}

// withSeed returns an image with random bytes for the encryption in the capture kernel,
// which has seen no event to gather entropy from. The bytes are new in each load and on no
// disk. They are an archive of their own before the image, which is not compressed: the
// kernel unpacks both, see "initramfs buffer format" in
// Documentation/driver-api/early-userspace/buffer-format.rst.
func withSeed(image []byte) ([]byte, error) {
	seed := make([]byte, seal.SeedSize)
	rand.Read(seed) // never fails
	var im initramfs.Image
	if err := im.AddFile(netplan.SeedFile, seed, 0o600); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if _, err := im.WriteTo(&buf); err != nil {
		return nil, err
	}
	buf.Write(make([]byte, -buf.Len()&511))
	buf.Write(image)
	return buf.Bytes(), nil
}

// loaded returns the bytes that the kernel gets for an image.
func loaded(image []byte, seeded bool) ([]byte, error) {
	if !seeded {
		return image, nil
	}
	return withSeed(image)
}

// initrdFile returns a file in memory with those bytes, which errors call name.
func initrdFile(name string, image []byte, seeded bool) (*os.File, error) {
	data, err := loaded(image, seeded)
	if err != nil {
		return nil, err
	}
	return Memfd(name, data)
}

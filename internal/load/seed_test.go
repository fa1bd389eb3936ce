package load

import (
	"bytes"
	"testing"

	"ukdump/initramfs"
	"ukdump/internal/netplan"
	"ukdump/internal/plan"
	"ukdump/internal/seal"
)

// testImage is an image as mkkdumpinitrd makes them.
func testImage(t *testing.T) []byte {
	t.Helper()
	var im initramfs.Image
	if err := im.AddFile("etc/ukdump/plan.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := im.Write(&buf, initramfs.Gzip); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// seedOf returns the seed in the archives of an image, nil if there is none.
func seedOf(t *testing.T, image []byte) []byte {
	t.Helper()
	r := initramfs.Open(bytes.NewReader(image))
	list, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	plans, seeds := 0, 0
	for _, e := range list {
		switch e.Path {
		case "etc/ukdump/plan.json":
			plans++
		case netplan.SeedFile:
			if seeds++; e.Mode.Perm() != 0o600 {
				t.Errorf("the seed has mode %o", e.Mode)
			}
		}
	}
	if plans != 1 || seeds > 1 {
		t.Errorf("%d plans and %d seeds", plans, seeds)
	}
	if seeds == 0 {
		return nil
	}
	b, err := initramfs.Open(bytes.NewReader(image)).ReadFile(netplan.SeedFile, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Only an image with recipients is loaded with a seed, which is new each time.
func TestSeed(t *testing.T) {
	image := testImage(t)
	for _, tt := range []struct {
		name   string
		remote any
		want   bool
	}{
		{"no part for a network", nil, false},
		{"servers alone", map[string]any{}, false},
		{"recipients", map[string]any{"recipients": []any{"age1x"}}, true},
		{"a plan of another version", map[string]any{"recipients": []any{"age1x"}, "new": 1}, false},
	} {
		seeded := encrypts(&plan.Plan{Remote: tt.remote})
		if seeded != tt.want {
			t.Errorf("%s: encrypts %v", tt.name, seeded)
		}
	}
	if data, err := loaded(image, false); err != nil || !bytes.Equal(data, image) || seedOf(t, data) != nil {
		t.Errorf("without recipients the image is changed, %v", err)
	}
	var last []byte
	for range 2 {
		data, err := loaded(image, true)
		if err != nil {
			t.Fatal(err)
		}
		seed := seedOf(t, data)
		if len(seed) != seal.SeedSize || bytes.Equal(seed, last) || bytes.Equal(seed, make([]byte, seal.SeedSize)) {
			t.Errorf("seed %x after %x", seed, last)
		}
		if last = seed; !bytes.HasSuffix(data, image) || (len(data)-len(image))%512 != 0 {
			t.Error("the image does not follow at a multiple of 512")
		}
	}
}

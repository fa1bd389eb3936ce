package ctl

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ukdump/initramfs"
	"ukdump/internal/netplan"
	"ukdump/internal/seal"
)

// seed returns the seed in the loaded image, nil if there is none.
func (m *machine) seed() []byte {
	m.t.Helper()
	list, err := initramfs.Open(bytes.NewReader(m.initrd)).List()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range list {
		if e.Path != netplan.SeedFile {
			continue
		}
		b, err := initramfs.Open(bytes.NewReader(m.initrd)).ReadFile(netplan.SeedFile, 1<<10)
		if err != nil || len(b) != seal.SeedSize {
			m.t.Fatalf("the seed has %d bytes, %v", len(b), err)
		}
		return b
	}
	return nil
}

// An image for encryption gets a seed in each load, the fallback set too, and no file on a
// disk has it.
func TestSeed(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	if m.seed() != nil {
		t.Error("an image without recipients has a seed")
	}
	var seeds [][]byte
	m.Write(conf, "ENCRYPT=age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n")
	for _, step := range []struct {
		name   string
		change func()
		verb   string
		status int
	}{
		{"load", func() {}, "reload", 0},
		{"the same image again", func() {}, "reload", 0},
		{"fallback at boot", func() { m.reboot(); m.Write(conf, "TARGTE=x\n") }, "load", 1},
	} {
		step.change()
		if got := m.kdumpctl(step.verb); got.status != step.status {
			t.Fatalf("%s: %+v", step.name, got)
		}
		seed := m.seed()
		if seed == nil {
			t.Fatalf("%s: no seed", step.name)
		}
		for _, old := range seeds {
			if bytes.Equal(seed, old) {
				t.Errorf("%s: the seed of an earlier load", step.name)
			}
		}
		seeds = append(seeds, seed)
	}
	err := filepath.WalkDir(m.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, seed := range seeds {
			if bytes.Contains(b, seed) {
				t.Errorf("%s has a seed", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

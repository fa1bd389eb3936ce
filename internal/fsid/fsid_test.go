package fsid

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// sparse is a device of zeros with some data, as the files in testdata give it.
type sparse struct {
	size int64
	rows map[int64][]byte // rows of 16 bytes by offset
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	n := 0
	for ; n < len(p) && off < s.size; n, off = n+1, off+1 {
		p[n] = 0
		if row := s.rows[off&^15]; row != nil {
			p[n] = row[off&15]
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// load reads a file of testdata: the size of the device, the output of blkid(8) about
// it, and its rows.
func load(t testing.TB, name string) (*sparse, ID) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dev, want := &sparse{rows: map[int64][]byte{}}, ID{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		key, val, _ := strings.Cut(sc.Text(), " ")
		switch key {
		case "#":
		case "size":
			dev.size, _ = strconv.ParseInt(val, 10, 64)
		case "type":
			want.Type = val
		case "uuid":
			want.UUID = val
		case "label":
			want.Label = val
		case "member":
			want.Member = val
		case "members":
			want.Members, _ = strconv.ParseUint(val, 10, 64)
		case "version":
			want.Version = val
		case "active":
			want.Active = " " + val + " "
		case "generation":
			want.Generation, _ = strconv.ParseUint(val, 10, 64)
		default:
			off, err := strconv.ParseInt(key, 16, 64)
			row := make([]byte, 16)
			if _, err2 := fmt.Sscanf(val, "%x", &row); err != nil || err2 != nil || len(row) != 16 {
				t.Fatalf("%s: bad line %q", name, sc.Text())
			}
			dev.rows[off] = row
		}
	}
	return dev, want
}

func samples(t testing.TB) []string {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) < 30 {
		t.Fatalf("found %d samples in testdata: %v", len(names), err)
	}
	return names
}

func TestProbeSamples(t *testing.T) {
	for _, name := range samples(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			dev, want := load(t, name)
			got, err := Probe(dev, dev.size)
			if err != nil || got != want {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// Only the metadata at the end tells a mirror's member from its content.
func TestProbeSizeUnknown(t *testing.T) {
	dev, _ := load(t, "testdata/md1.0-over-ext4.txt")
	if id, err := Probe(dev, 0); err != nil || id.Type != "ext4" {
		t.Errorf("without size: got %+v, %v; want ext4", id, err)
	}
	dev, want := load(t, "testdata/ext4.txt")
	if id, err := Probe(dev, 0); err != nil || id != want {
		t.Errorf("without size: got %+v, %v; want %+v", id, err, want)
	}
}

// A disk that was in a pool keeps most of its ZFS labels.
func TestProbeStaleZFS(t *testing.T) {
	dev, want := load(t, "testdata/ext4.txt")
	old, _ := load(t, "testdata/zfs.txt")
	for off, row := range old.rows {
		dev.rows[off] = row
	}
	if id, err := Probe(dev, dev.size); err != nil || id != want {
		t.Errorf("got %+v, %v; want %+v", id, err, want)
	}
}

func TestProbeUnknown(t *testing.T) {
	mbr := map[int64][]byte{0x1f0: {14: 0x55, 15: 0xaa}}
	for name, dev := range map[string]*sparse{
		"empty":       {size: 0},
		"one sector":  {size: 512},
		"zeros":       {size: 1 << 20},
		"boot sector": {size: 1 << 20, rows: mbr},
	} {
		if id, err := Probe(dev, dev.size); !errors.Is(err, ErrUnknown) || id != (ID{}) {
			t.Errorf("%s: got %+v, %v; want ErrUnknown", name, id, err)
		}
	}
}

// failing is a device with one bad sector.
type failing struct {
	*sparse
	bad int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.bad && f.bad < off+int64(len(p)) {
		return 0, syscall.EIO
	}
	return f.sparse.ReadAt(p, off)
}

func TestProbeReadError(t *testing.T) {
	dev, _ := load(t, "testdata/ext4.txt")
	for _, bad := range []int64{0, 1024, dev.size - 512} {
		id, err := Probe(failing{dev, bad}, dev.size)
		var re *ReadError
		if !errors.As(err, &re) || !errors.Is(err, syscall.EIO) || errors.Is(err, ErrUnknown) || id != (ID{}) {
			t.Errorf("bad byte %d: got %+v, %v; want a ReadError", bad, id, err)
		}
	}
}

func TestProbeTruncated(t *testing.T) {
	for _, name := range samples(t) {
		dev, _ := load(t, name)
		for _, size := range []int64{1, 511, 1024, 4096, 65536} {
			dev.size = size
			if _, err := Probe(dev, size); err != nil && !errors.Is(err, ErrUnknown) {
				t.Errorf("%s cut to %d bytes: %v", name, size, err)
			}
		}
	}
}

func FuzzProbe(f *testing.F) {
	for _, name := range samples(f) {
		dev, _ := load(f, name)
		head := make([]byte, min(dev.size, 66<<10))
		if _, err := dev.ReadAt(head, 0); err != nil {
			f.Fatal(err)
		}
		f.Add(head, dev.size)
	}
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		r := strings.NewReader(string(head))
		if size < 0 {
			size = 0
		}
		id, err := Probe(r, size)
		if (err == nil) != (id.Type != "") {
			t.Errorf("got %+v, %v", id, err)
		}
	})
}

package fsid

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// disk reads a sample into memory.
func disk(t testing.TB, name string) []byte {
	t.Helper()
	dev, _ := load(t, "testdata/partitions/"+name+".txt")
	b := make([]byte, dev.size)
	if _, err := dev.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

const a = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

func TestPartUUID(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sector int
		n      int
		damage func(b []byte)
		want   string // "" for ErrNoPartUUID
	}{
		{"gpt512", 512, 1, nil, a},
		{"gpt512", 512, 2, nil, ""},
		{"gpt512", 512, 3, nil, "01234567-89ab-cdef-0123-456789abcdef"},
		{"gpt512", 512, 128, nil, ""},
		{"gpt512", 512, 129, nil, ""},
		{"gpt512", 512, 0, nil, ""},
		{"gpt512", 512, -1, nil, ""},
		{"gpt512", 4096, 1, nil, ""},
		{"gpt512", 0, 1, nil, ""},
		{"gpt512", 512, 1, func(b []byte) { b[512] = 'X' }, a},                  // the second header
		{"gpt512", 512, 1, func(b []byte) { b[512+40]++ }, a},                   // checksum of the first
		{"gpt512", 512, 1, func(b []byte) { b[1024]++ }, a},                     // its table
		{"gpt512", 512, 1, func(b []byte) { b[512], b[len(b)-512] = 0, 0 }, ""}, // both
		{"gpt512", 512, 1, func(b []byte) { b[510] = 0 }, ""},                   // no MBR
		{"gpt512", 512, 1, func(b []byte) { b[450] = 0x83; copy(b[440:], "\x01\x02\x03\x04") }, "04030201-01"}, // an MBR replaced it
		{"gpt4k", 4096, 1, nil, a},
		{"gpt4k", 4096, 1, func(b []byte) { clear(b[4096:8192]) }, a},
		{"gpt4k", 512, 1, nil, ""},
		{"mbr", 512, 1, nil, "0a1b2c3d-01"},
		{"mbr", 4096, 2, nil, "0a1b2c3d-02"},
		{"mbr", 512, 3, nil, ""},
		{"mbr", 512, 5, nil, "0a1b2c3d-05"},
		{"mbr", 512, 17, nil, "0a1b2c3d-11"},
		{"mbr", 512, 256, nil, ""},
		{"mbr", 512, 5, func(b []byte) { b[466] = 0x83 }, ""}, // no extended partition
		{"mbr", 512, 1, func(b []byte) { clear(b[440:444]) }, ""},
	} {
		b := disk(t, tt.name)
		if tt.damage != nil {
			tt.damage(b)
		}
		got, err := PartUUID(bytes.NewReader(b), int64(len(b)), tt.sector, tt.n)
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, ErrNoPartUUID) {
			t.Errorf("%s, sectors of %d, partition %d: got %q, %v; want %q", tt.name, tt.sector, tt.n, got, err, tt.want)
		}
	}
}

func TestPartType(t *testing.T) {
	const linux = "0fc63daf-8483-4772-8e79-3d69d8477de4" // as sfdisk makes it by default
	for _, tt := range []struct {
		name   string
		sector int
		n      int
		want   string
	}{
		{"gpt512", 512, 1, linux}, {"gpt512", 512, 3, linux}, {"gpt4k", 4096, 1, linux},
		{"mbr", 512, 1, "0x83"}, {"mbr", 512, 2, "0x5"}, {"mbr", 512, 5, ""},
	} {
		b := disk(t, tt.name)
		if p, err := ReadPartition(bytes.NewReader(b), int64(len(b)), tt.sector, tt.n); err != nil || p.Type != tt.want {
			t.Errorf("%s, partition %d: got %+v, %v; want %s", tt.name, tt.n, p, err, tt.want)
		}
	}
}

func TestPartUUIDReadError(t *testing.T) {
	dev, _ := load(t, "testdata/partitions/gpt512.txt")
	for _, bad := range []int64{0, 512, 1024, 1024 + 16383} {
		_, err := PartUUID(failing{dev, bad}, dev.size, 512, 1)
		var re *ReadError
		if !errors.As(err, &re) || !errors.Is(err, syscall.EIO) {
			t.Errorf("bad byte %d: got %v; want a ReadError", bad, err)
		}
	}
}

func FuzzPartUUID(f *testing.F) {
	for name, sector := range map[string]int{"gpt512": 512, "gpt4k": 4096, "mbr": 512} {
		f.Add(disk(f, name)[:6*4096], int64(8<<20), sector, 1)
	}
	ok := regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{2}|[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$`)
	f.Fuzz(func(t *testing.T, head []byte, size int64, sector, n int) {
		id, err := PartUUID(strings.NewReader(string(head)), max(size, 0), sector, n)
		if (err == nil) != ok.MatchString(id) {
			t.Errorf("got %q, %v", id, err)
		}
	})
}

func TestPartTable(t *testing.T) {
	mbr := func(types ...byte) string {
		b := make([]byte, 1024)
		b[510], b[511] = 0x55, 0xaa
		for i, typ := range types {
			b[mbrEntry+i*mbrEntrySize+4] = typ
		}
		return string(b)
	}
	for _, tt := range []struct{ name, disk, want string }{
		{"MBR", mbr(0x83, 0x82), "dos"},
		{"MBR with an extended partition", mbr(0x83, 0x05), "dos"},
		{"GPT", mbr(0xee), "gpt"},
		{"GPT beside other entries", mbr(0x0c, 0x83, 0xee), "gpt"},
		{"no signature", strings.Repeat("x", 1024), ""},
		{"short", "x", ""},
		{"empty", "", ""},
	} {
		if got := PartTable(strings.NewReader(tt.disk)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

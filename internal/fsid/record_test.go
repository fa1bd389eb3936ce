package fsid

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var record = flag.String("record", "", "write testdata from the *.img files in this `directory`, with blkid(8)'s answers")

// recorder records the bytes that were read.
type recorder struct {
	*os.File
	rows map[int64]bool
}

func (r recorder) ReadAt(p []byte, off int64) (int, error) {
	for row := off &^ 15; row < off+int64(len(p)); row += 16 {
		r.rows[row] = true
	}
	return r.File.ReadAt(p, off)
}

// TestRecord makes the samples: testdata/make.sh tells how.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Skip("not asked to, with -record")
	}
	images, _ := filepath.Glob(filepath.Join(*record, "*.img"))
	for _, image := range images {
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		r := recorder{f, map[int64]bool{}}
		got, _ := Probe(r, st.Size())
		out := sampleText(t, r, st.Size(), blkid(t, image, got))
		name := strings.TrimSuffix(filepath.Base(image), ".img") + ".txt"
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sampleText holds every row that Probe read, and all of the first 4 KiB.
func sampleText(t *testing.T, r recorder, size int64, want ID) string {
	var b strings.Builder
	fmt.Fprintf(&b, "size %d\n", size)
	for _, line := range []struct{ key, val string }{
		{"type", want.Type}, {"uuid", want.UUID}, {"label", want.Label}, {"member", want.Member},
		{"version", want.Version}, {"active", strings.TrimSpace(want.Active)},
	} {
		if line.val != "" {
			fmt.Fprintf(&b, "%s %s\n", line.key, line.val)
		}
	}
	if want.Members > 0 {
		fmt.Fprintf(&b, "members %d\ngeneration %d\n", want.Members, want.Generation)
	}
	for off := int64(0); off < size; off += 16 {
		if off >= 4096 && !r.rows[off] {
			continue
		}
		row := make([]byte, 16)
		if _, err := r.File.ReadAt(row, off); err == nil && !zero(row) {
			fmt.Fprintf(&b, "%08x %x\n", off, row)
		}
	}
	return b.String()
}

// blkid asks blkid(8). Values that Probe does not report by intention, and those that
// blkid does not tell of several devices, are taken from got.
func blkid(t *testing.T, image string, got ID) ID {
	out, err := exec.Command("blkid", "-p", "-o", "export", image).Output()
	if err != nil {
		t.Logf("%s: blkid: %v; recording what Probe says", image, err)
		return got
	}
	want := ID{Member: got.Member, Members: got.Members, Generation: got.Generation, Version: got.Version, Active: got.Active}
	for line := range strings.Lines(string(out)) {
		key, val, _ := strings.Cut(strings.TrimSpace(line), "=")
		val = strings.ReplaceAll(val, `\ `, " ")
		switch key {
		case "TYPE":
			want.Type = val
		case "UUID":
			want.UUID = val
		case "LABEL":
			want.Label = val
		case "UUID_SUB":
			if want.Type == "btrfs" {
				want.Member = val
			}
		}
	}
	switch want.Type {
	case "iso9660", "ddf_raid_member":
		want.UUID = ""
	case "zfs_member":
		want = ID{Type: want.Type}
	}
	return want
}

package host

import (
	"bytes"
	"strings"
	"testing"

	"ukdump/internal/kfeature"
)

func TestFeatures(t *testing.T) {
	image := func(bytes map[int]byte) string {
		b := make([]byte, 8192)
		b[1024+0xe0] = 8 // ext4: the journal's inode
		for at, v := range bytes {
			b[at] = v
		}
		return string(b)
	}
	for _, tt := range []struct {
		name, typ    string
		bytes        map[int]byte
		apart, needs string
	}{
		{"ext4", "ext4", map[int]byte{1024 + 0x5c: 4}, "", ""},
		{"ext4 with quotas", "ext4", map[int]byte{1024 + 0x65: 1}, "", "quota_v2"},
		{"ext4 with case folding", "ext4", map[int]byte{1024 + 0x62: 2}, "", "utf8data"},
		{"ext3 with its journal elsewhere", "ext3", map[int]byte{1024 + 0x5c: 4, 1024 + 0xe0: 0}, "journal", ""},
		{"xfs", "xfs", map[int]byte{55: 1}, "", ""},
		{"xfs with its log elsewhere", "xfs", nil, "log", ""},
		{"f2fs", "f2fs", nil, "", ""},
		{"f2fs of two devices", "f2fs", map[int]byte{1024 + 2269: '/'}, "second part", ""},
		{"f2fs with all", "f2fs", map[int]byte{1024 + 2180: 0x80, 1024 + 2181: 0x10}, "", "utf8data quota_v2"},
		{"btrfs", "btrfs", nil, "", ""},
	} {
		f := featuresOf(strings.NewReader(image(tt.bytes)), tt.typ)
		var names []string
		for _, r := range f.needs {
			names = append(names, r.Names[0])
		}
		if f.apart != tt.apart || strings.Join(names, " ") != tt.needs {
			t.Errorf("%s: got %+v", tt.name, f)
		}
	}
	for _, tt := range []struct {
		typ   string
		bytes map[int]byte
		name  string
		since kfeature.Version
	}{
		{"xfs", map[int]byte{101: 0xb5, 215: 8, 219: 0x28}, "nrext64", kfeature.Version{5, 19}},
		{"xfs", map[int]byte{101: 0xb5, 215: 0xf, 219: 3}, "inobtcount", kfeature.Version{5, 10}},
		{"xfs", map[int]byte{101: 0xb4, 219: 0x28}, "", kfeature.Version{}}, // version 4 has other things there
		{"ext3", map[int]byte{1024 + 0x66: 1}, "orphan_file", kfeature.Version{5, 15}},
		{"btrfs", map[int]byte{64<<10 + 180: 0xb, 64<<10 + 189: 8}, "block-group-tree", kfeature.Version{6, 1}},
		{"f2fs", nil, "", kfeature.Version{}},
	} {
		b := make([]byte, 128<<10)
		for at, v := range tt.bytes {
			b[at] = v
		}
		if f := featuresOf(bytes.NewReader(b), tt.typ); f.since.Name != tt.name || f.since.Since != tt.since {
			t.Errorf("%s %v: got %+v", tt.typ, tt.bytes, f.since)
		}
	}
	if f := featuresOf(strings.NewReader("short"), "xfs"); f.apart != "" {
		t.Errorf("of nothing: %+v", f)
	}
}

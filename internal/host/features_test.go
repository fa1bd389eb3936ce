package host

import (
	"bytes"
	"strings"
	"testing"
)

func TestFeatures(t *testing.T) {
	image := func(bytes map[int]byte) string {
		b := make([]byte, 128<<10)
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
	if f := featuresOf(strings.NewReader("short"), "xfs"); f.apart != "" || len(f.uses)+len(f.unknown) > 0 {
		t.Errorf("of nothing: %+v", f)
	}
}

// Features that not every kernel has, and flags that are in no table.
func TestFeaturesOfKernels(t *testing.T) {
	const ext, btrfs = 1024, 64 << 10
	for _, tt := range []struct {
		name, typ string
		bytes     map[int]byte
		uses      string
		unknown   string
		block     int
	}{
		{"xfs of Debian 12", "xfs", map[int]byte{6: 0x10, 100: 0xb4, 101: 0xa5, 215: 5, 219: 3}, "reflink", "", 4096},
		{"xfs of Debian 13", "xfs", map[int]byte{6: 0x10, 100: 0xb4, 101: 0xa5, 215: 0xf, 218: 0, 219: 0x6b}, "rmapbt, reflink, inobtcount, bigtime, nrext64, exchange", "", 4096},
		{"xfs of version 4", "xfs", map[int]byte{6: 0x10, 100: 0xb4, 101: 0xa4, 203: 0x8a, 219: 0xff}, "format version 4 (crc=0)", "", 4096}, // version 4 has other things there
		{"xfs of version 4 with case folding", "xfs", map[int]byte{6: 0x10, 100: 0xf4, 101: 0xa4}, "ASCII case folding (ascii-ci=1), format version 4 (crc=0)", "", 4096},
		{"xfs with case folding", "xfs", map[int]byte{6: 0x10, 100: 0xf4, 101: 0xa5}, "ASCII case folding (ascii-ci=1)", "", 4096},
		{"xfs of version 3", "xfs", map[int]byte{101: 0xb3}, "", "version 3", 0},
		{"xfs of the future", "xfs", map[int]byte{101: 0xb5, 212: 0x80, 218: 8, 223: 4}, "", "ro_compat 0x80000000, incompat 0x800, log_incompat 0x4", 0},
		{"xfs of version 4 with parent pointers of IRIX", "xfs", map[int]byte{101: 0xb4, 203: 0x10}, "format version 4 (crc=0)", "features2 0x10", 0},
		{"xfs with a realtime section", "xfs", map[int]byte{23: 1, 101: 0xb5}, "a realtime section", "", 0},
		{"xfs with blocks of 64 KiB", "xfs", map[int]byte{5: 1, 101: 0xb5, 219: 0x10}, "needsrepair", "", 65536},
		{"ext4 of Debian 12", "ext4", map[int]byte{ext + 0x18: 2, ext + 0x5c: 0x3c, ext + 0x60: 0xc2, ext + 0x61: 2, ext + 0x64: 0x6b, ext + 0x65: 4}, "", "", 4096},
		{"ext3 with an orphan file", "ext3", map[int]byte{ext + 0x5d: 0x10, ext + 0x66: 1}, "orphan_file", "", 1024},
		{"ext4 with fast commits", "ext4", map[int]byte{ext + 0x5d: 0x2c}, "fast_commit", "", 1024},
		{"ext4 with case folding and quotas", "ext4", map[int]byte{ext + 0x62: 2, ext + 0x65: 0x21}, "casefold, quota, project", "", 1024},
		{"ext4 of the future", "ext4", map[int]byte{ext + 0x60: 1, ext + 0x62: 8, ext + 0x67: 0x80, ext + 0x5f: 0x80}, "", "incompat 0x80001, ro_compat 0x80000000", 1024},
		{"ext4 of Android with shared blocks", "ext4", map[int]byte{ext + 0x65: 0x40}, "", "ro_compat 0x4000", 1024},
		{"ext4 with blocks of 64 KiB", "ext4", map[int]byte{ext + 0x18: 6}, "", "", 65536},
		{"ext4 that is damaged", "ext4", map[int]byte{ext + 0x18: 60}, "", "", 0},
		{"btrfs of Debian 12", "btrfs", map[int]byte{btrfs + 145: 0x10, btrfs + 180: 3, btrfs + 188: 0x41, btrfs + 189: 3}, "free-space-tree, free-space-tree-valid", "", 4096},
		{"btrfs with a block group tree and raid1c4", "btrfs", map[int]byte{btrfs + 180: 0xb, btrfs + 189: 8}, "free-space-tree, free-space-tree-valid, block-group-tree, raid1c34", "", 0},
		{"btrfs with sectors of 16 KiB", "btrfs", map[int]byte{btrfs + 145: 0x40}, "", "", 16384},
		{"btrfs with blake2", "btrfs", map[int]byte{btrfs + 196: 3}, "checksums other than crc32c", "", 0},
		{"btrfs of the future", "btrfs", map[int]byte{btrfs + 187: 1, btrfs + 190: 2, btrfs + 196: 4}, "", "compat_ro 0x100000000000000, incompat 0x20000, checksum type 4", 0},
		{"f2fs with all", "f2fs", map[int]byte{ext + 16: 12, ext + 2180: 0x80, ext + 2181: 0x10}, "quota, casefold", "", 4096},
		{"f2fs of the future", "f2fs", map[int]byte{ext + 16: 14, ext + 2181: 0x80, ext + 2182: 4}, "device_alias", "features 0x40000", 16384},
	} {
		b := make([]byte, 128<<10)
		for at, v := range tt.bytes {
			b[at] = v
		}
		f := featuresOf(bytes.NewReader(b), tt.typ)
		var uses []string
		for _, u := range f.uses {
			uses = append(uses, u.Name)
		}
		if got := strings.Join(uses, ", "); got != tt.uses {
			t.Errorf("%s: uses %q, want %q", tt.name, got, tt.uses)
		}
		if got := strings.Join(f.unknown, ", "); got != tt.unknown {
			t.Errorf("%s: unknown %q, want %q", tt.name, got, tt.unknown)
		}
		if f.blockSize != tt.block {
			t.Errorf("%s: blocks of %d bytes, want %d", tt.name, f.blockSize, tt.block)
		}
	}
}

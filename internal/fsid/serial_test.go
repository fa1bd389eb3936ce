package fsid

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSerial(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"virtio-blk", map[string]string{"serial": "disk-1"}, "disk-1"},
		{"virtio-blk without", map[string]string{"serial": ""}, ""},
		{"nvme", map[string]string{"device/serial": "S3X 9NX0        \n", "nsid": "2\n"}, "S3X9NX0/2"},
		{"scsi", map[string]string{"device/vpd_pg80": "\x00\x80\x00\x08  WD-\xff12\x00"}, "WD-12"},
		{"scsi, cut off", map[string]string{"device/vpd_pg80": "\x00\x80"}, ""},
		{"mmc", map[string]string{"device/serial": "0xb2c3d4e5\n"}, "0xb2c3d4e5"},
		{"nothing to tell namespaces of", map[string]string{"nsid": "1\n"}, ""},
		{"none", nil, ""},
	} {
		dir := t.TempDir()
		os.Mkdir(filepath.Join(dir, "device"), 0o755)
		for name, data := range tt.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := Serial(dir); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

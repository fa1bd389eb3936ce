package initramfs

import (
	"bytes"
	"testing"
)

func TestPacked(t *testing.T) {
	var plain bytes.Buffer
	var im Image
	for name, size := range map[string]int{"kernel/x86/microcode/GenuineIntel.bin": 4099, "a": 0, "bc": 1} {
		if err := im.AddFile(name, bytes.Repeat([]byte("070701"), size)[:size], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := im.WriteTo(&plain); err != nil {
		t.Fatal(err)
	}
	cpio := plain.String()
	zeros := string(make([]byte, 500))
	for _, tt := range []struct{ name, image, want string }{
		{"gzip alone", "\x1f\x8b\x08rest", "\x1f\x8b\x08rest"},
		{"lz4 behind microcode", cpio + zeros + "\x02\x21\x4c\x18x", "\x02\x21\x4c\x18x"},
		{"zstd behind two plain archives", cpio + cpio + "\x28\xb5\x2f\xfdx", "\x28\xb5\x2f\xfdx"},
		{"plain", cpio, ""},
		{"plain with zeros", cpio + zeros, ""},
		{"cut in a header", cpio[:100], ""},
		{"cut in a file", cpio[:1000], ""},
		{"bad length", "070701" + string(bytes.Repeat([]byte("z"), 200)), ""},
		{"nothing", "", ""},
	} {
		if got := string(Packed([]byte(tt.image))); got != tt.want {
			t.Errorf("%s: got %.20q, want %q", tt.name, got, tt.want)
		}
	}
}

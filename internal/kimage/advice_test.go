package kimage

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"ukdump/internal/advice"
)

// frame is a zstd frame with a window of 1<<log bytes and one raw block.
func frame(log byte, data string) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3}
	n := len(data)<<3 | 1 // last block, raw
	return append(append(b, byte(n), byte(n>>8), byte(n>>16)), data...)
}

// xzWith packs data with filters of xz(1), or skips the test.
func xzWith(t *testing.T, data []byte, options ...string) []byte {
	t.Helper()
	cmd := exec.Command("xz", append([]string{"-c"}, options...)...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("xz %q: %v", options, err)
	}
	return out
}

// Kernels in forms that are not unpacked: one line of advice each.
func TestCompressionAdvice(t *testing.T) {
	image := arm(armBanner, 1)
	pad := func(s string) []byte { return append([]byte(s), make([]byte, 200)...) }
	for _, tt := range []struct {
		name   string
		data   []byte
		method string
		tool   string
	}{
		{"Image.lzma", xzWith(t, image, "--format=lzma"), "lzma", "xz --format=lzma -dc"},
		{"Image.lz4", pad("\x02\x21\x4c\x18"), "lz4", "lz4 -dc"},
		{"Image.bz2", pad("BZh91AY&SY"), "bzip2", "bzip2 -dc"},
		{"Image.lzo", pad("\x89LZO\x00"), "lzo", "lzop -dc"},
		{"Image.xz with BCJ for ARM", xzWith(t, image, "--arm", "--lzma2=dict=1MiB"), "xz with other filters than LZMA2", "xz -dc"},
		{"Image.xz with BCJ for x86", xzWith(t, image, "--x86", "--lzma2=dict=1MiB"), "xz with other filters than LZMA2", "xz -dc"},
		{"Image.xz with delta", xzWith(t, image, "--delta=dist=4", "--lzma2=dict=1MiB"), "xz with other filters than LZMA2", "xz -dc"},
		{"Image.xz with a long dictionary", xzWith(t, image, "--check=crc32", "--lzma2=dict=192MiB"), "xz with a dictionary of ", "xz -dc"},
		{"Image.zst with a long window", frame(31, string(image)), "zstd with a window of more than 128 MiB", "zstd --long=31 -dc"},
		{"zboot", armZboot("lz4", pad("\x02\x21\x4c\x18")), "lz4", ""},
		{"zboot of zstd with a long window", armZboot("zstd", frame(30, string(image))), "zstd with a window of more than 128 MiB", ""},
	} {
		_, err := parseBytes(tt.data)
		if err == nil || !strings.Contains(err.Error(), "cannot unpack "+tt.method) {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		want := "Set KERNEL= to an unpacked Image of that kernel."
		if tt.tool != "" {
			want = "Unpack it with " + tt.tool + " vmlinuz >/boot/Image, and set KERNEL=/boot/Image."
		}
		if got := advice.For(err); got != want {
			t.Errorf("%s: advice %q, want %q", tt.name, got, want)
		}
	}
}

package kimage

import (
	"bytes"
	"errors"
	"strconv"
)

// The header of an Image: Documentation/arch/arm64/booting.rst.
const (
	armImageSize = 16
	armFlags     = 24
	armMagic     = 56

	// COMMAND_LINE_SIZE in arch/arm64/include/uapi/asm/setup.h, NUL included.
	armCmdline = 2048
)

func isImage(data []byte) bool {
	return len(data) >= 64 && string(data[armMagic:armMagic+4]) == "ARM\x64"
}

// image reads a raw Image. im.Format has been set.
func (im *Image) image(data []byte) error {
	im.Arch = "arm64"
	im.PageSize = [4]int{0, 4 << 10, 16 << 10, 64 << 10}[le.Uint64(data[armFlags:])>>1&3]
	im.InitSize = max(le.Uint64(data[armImageSize:]), uint64(len(data)))
	im.CmdlineSize = armCmdline - 1
	im.KexecFile, im.FiveLevel = true, true
	im.data = data
	if err := im.readPE(data); err != nil {
		return err
	}
	if im.Release, im.banner = findBanner(data); im.Release == "" {
		return &TruncatedError{Path: im.Path, Have: int64(len(data))}
	}
	return nil
}

// findBanner finds linux_banner (init/version-timestamp.c) in an unpacked kernel, and
// the release in it. Other strings begin in the same way; since Linux 6.1 one is the
// same but for the number of the build: the weak linux_banner of init/version.c.
func findBanner(data []byte) (release, banner string) {
	const longest = 1024
	prefix := []byte(bannerPrefix)
	for {
		i := bytes.Index(data, prefix)
		if i < 0 {
			return release, ""
		}
		line := data[i:min(len(data), i+longest)]
		data = data[i+len(prefix):]
		if r := releaseOf(line[len(prefix):]); r != "" && bytes.HasPrefix(line[len(prefix)+len(r):], []byte(" (")) {
			text, _, ok := bytes.Cut(line, []byte("\n"))
			switch {
			case !ok:
				return r, ""
			case bytes.Contains(text, []byte(") # ")):
				release = r
			default:
				return r, string(text)
			}
		}
	}
}

// The header of an EFI zboot image: drivers/firmware/efi/libstub/zboot-header.S.
const (
	zbootPayload = 8
	zbootSize    = 12
	zbootMethod  = 24
	zbootEnd     = 56
)

func isZboot(data []byte) bool {
	return len(data) >= 64 && string(data[:2]) == "MZ" && string(data[4:8]) == "zimg"
}

func (im *Image) zboot(data []byte) error {
	off, n := int64(le.Uint32(data[zbootPayload:])), int64(le.Uint32(data[zbootSize:]))
	if off+n > int64(len(data)) {
		return &TruncatedError{im.Path, int64(len(data)), off + n}
	}
	name, _, _ := bytes.Cut(data[zbootMethod:zbootEnd], []byte{0})
	payload := data[off : off+n]
	method := compression(payload)
	if method == "" {
		return &CompressionError{im.Path, "zboot payload of type " + strconv.Quote(string(name)), true}
	}
	inner, err := im.unpack(method, payload)
	if c := (*CompressionError)(nil); errors.As(err, &c) {
		c.Inside = true
	}
	if err != nil {
		return err
	}
	if !isImage(inner) {
		if format := describe(inner); format != "unknown format" {
			return &NotKernelError{im.Path, "an EFI zboot file; inside is " + format}
		}
		return &CorruptError{im.Path, errors.New("no arm64 Image in its zboot payload")}
	}
	im.Format = Zboot
	return im.image(inner)
}

package kimage

import (
	"encoding/binary"
	"errors"
)

var le = binary.LittleEndian

// Fields of the setup header: Documentation/arch/x86/boot.rst.
const (
	x86SetupSects    = 0x1f1
	x86SysSize       = 0x1f4
	x86BootFlag      = 0x1fe
	x86HdrS          = 0x202
	x86Version       = 0x206
	x86KernelVersion = 0x20e
	x86Loadflags     = 0x211
	x86XLoadflags    = 0x236 // protocol 2.12
	x86CmdlineSize   = 0x238 // protocol 2.06
	x86PayloadOffset = 0x248 // protocol 2.08
	x86PayloadLength = 0x24c
	x86InitSize      = 0x260 // protocol 2.10
	x86HeaderEnd     = 0x268

	loadedHigh = 1 << 0 // loadflags

	xlfKernel64        = 1 << 0 // xloadflags
	xlfLoadedAbove4G   = 1 << 1
	xlf5Level          = 1 << 5
	defaultX86PageSize = 4096
)

func isBzImage(data []byte) bool {
	return len(data) >= x86HeaderEnd && le.Uint16(data[x86BootFlag:]) == 0xaa55 && string(data[x86HdrS:x86HdrS+4]) == "HdrS"
}

func (im *Image) bzImage(data []byte) error {
	setup := x86SetupSize(data)
	// syssize counts paragraphs of 16 bytes, the last one perhaps not full.
	if want := int64(setup) + int64(le.Uint32(data[x86SysSize:]))*16; int64(len(data)) < want-15 {
		return &TruncatedError{im.Path, int64(len(data)), want}
	}
	im.banner = string(x86Banner(data))
	if im.Release = releaseOf([]byte(im.banner)); im.Release == "" {
		return &NotKernelError{im.Path, "a file of the x86 boot protocol that names no Linux release"}
	}

	protocol, flags := le.Uint16(data[x86Version:]), le.Uint16(data[x86XLoadflags:])
	if protocol < 0x20c {
		flags = 0
	}
	im.Format, im.SetupSize = BzImage, setup
	im.Arch = "386"
	if flags&xlfKernel64 != 0 {
		im.Arch = "amd64"
	}
	im.PageSize = defaultX86PageSize
	im.CmdlineSize = 255
	if protocol >= 0x206 {
		im.CmdlineSize = int(le.Uint32(data[x86CmdlineSize:]))
	}
	if protocol >= 0x20a {
		im.InitSize = uint64(le.Uint32(data[x86InitSize:]))
	}
	im.KexecFile = protocol >= 0x20c && data[x86Loadflags]&loadedHigh != 0 && flags&xlfKernel64 != 0 && flags&xlfLoadedAbove4G != 0
	im.FiveLevel = flags&xlf5Level != 0
	if protocol >= 0x208 {
		off := int64(setup) + int64(le.Uint32(data[x86PayloadOffset:]))
		end := off + int64(le.Uint32(data[x86PayloadLength:]))
		if end > int64(len(data)) {
			return &TruncatedError{im.Path, int64(len(data)), end}
		}
		im.payload = data[off:end]
	}
	im.data = data
	return im.readPE(data)
}

// vmlinux unpacks the payload of a bzImage. All but gzip are followed by the
// unpacked size in four bytes (scripts/Makefile.lib, size_append).
func (im *Image) vmlinux() ([]byte, error) {
	method, b := compression(im.payload), im.payload
	if method == "" {
		return nil, &CorruptError{im.Path, errors.New("unknown compression of the payload")}
	}
	if method != "gzip" && len(b) > 4 {
		b = b[:len(b)-4]
	}
	return im.unpack(method, b)
}

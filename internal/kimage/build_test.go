package kimage

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const release = "6.1.0-50-amd64"

// bz makes a bzImage: boot sector, one sector of setup, payload.
func bz(version string, payload []byte) []byte {
	const setup = 3 * 512
	b := make([]byte, setup+(len(payload)+15)&^15)
	b[x86SetupSects] = 2
	le.PutUint32(b[x86SysSize:], uint32(len(b)-setup)/16)
	le.PutUint16(b[x86BootFlag:], 0xaa55)
	copy(b[x86HdrS:], "HdrS")
	le.PutUint16(b[x86Version:], 0x20f)
	le.PutUint16(b[x86KernelVersion:], 0x200)
	b[x86Loadflags] = loadedHigh
	le.PutUint16(b[x86XLoadflags:], xlfKernel64|xlfLoadedAbove4G|xlf5Level)
	le.PutUint32(b[x86CmdlineSize:], 2047)
	le.PutUint32(b[x86PayloadLength:], uint32(len(payload)))
	le.PutUint32(b[x86InitSize:], 64<<20)
	copy(b[1024:], version)
	copy(b[setup:], payload)
	return b
}

// arm makes a raw Image of 4 KiB.
func arm(banner string, pageBits byte) []byte {
	b := make([]byte, 4096)
	le.PutUint64(b[armImageSize:], 32<<20)
	b[armFlags] = pageBits << 1
	copy(b[armMagic:], "ARM\x64")
	copy(b[1000:], "Linux version %s (%s)\x00"+banner)
	return b
}

func armZboot(method string, payload []byte) []byte {
	b := make([]byte, 64)
	copy(b, "MZ\x00\x00zimg")
	le.PutUint32(b[zbootPayload:], 64)
	le.PutUint32(b[zbootSize:], uint32(len(payload)))
	copy(b[zbootMethod:], method)
	return append(append(b, payload...), 0, 0, 0, 0)
}

// peFile makes a PE file with one section and, if cert is not 0, a certificate
// table of that many bytes behind it.
func peFile(section string, content []byte, cert int) []byte {
	const (
		header = 0x80
		opt    = header + 24
		sect   = opt + 240
		start  = 512
	)
	size := (len(content) + 511) &^ 511
	b := make([]byte, start+size+cert)
	copy(b, "MZ")
	b[0x3c] = header
	copy(b[header:], "PE\x00\x00\x64\x86\x01")
	le.PutUint16(b[header+20:], 240)
	le.PutUint16(b[opt:], 0x20b)
	le.PutUint32(b[opt+108:], 16)
	if cert > 0 {
		le.PutUint32(b[opt+112+4*8:], uint32(start+size))
		le.PutUint32(b[opt+112+4*8+4:], uint32(cert))
	}
	copy(b[sect:], section)
	le.PutUint32(b[sect+8:], uint32(len(content)))
	le.PutUint32(b[sect+16:], uint32(size))
	le.PutUint32(b[sect+20:], start)
	copy(b[start:], content)
	return b
}

func gz(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func xzip(t testing.TB, data []byte, check byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: check, BlockSize: 100_000}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// noise is n bytes that do not compress, always the same.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// sized appends the size as the kernel's build does for all but gzip.
func sized(data []byte) []byte { return append(data, 0, 0x10, 0, 0) }

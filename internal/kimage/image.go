// Package kimage reads kernel images: the release, the requirements and the
// configuration of the kernel, and the bytes that kexec_file_load(2) takes. It knows
// x86 bzImage, the arm64 Image in its compressed and EFI zboot forms, and either
// inside a unified kernel image.
package kimage

import (
	"bytes"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"ukdump/internal/crashdir"
)

// maxImage bounds a kernel, packed or unpacked, in bytes. An arm64 Image with
// everything built in stays below 100 MiB.
const maxImage = 256 << 20

// Format is the form in which the kernel lies in its file.
type Format string

// The formats. The compressed ones are unpacked by Open.
const (
	BzImage   Format = "bzImage"
	RawImage  Format = "Image"
	GzipImage Format = "Image.gz"
	ZstdImage Format = "Image.zst"
	XZImage   Format = "Image.xz"
	Zboot     Format = "zboot" // self-extracting EFI program (CONFIG_EFI_ZBOOT)
)

// Image is a kernel image that can be booted.
type Image struct {
	Path    string
	Format  Format
	UKI     bool   // the .linux section of a unified kernel image
	Arch    string // GOARCH: amd64, 386, arm64
	Release string // as uname -r prints it

	// PageSize in bytes; 0 if an arm64 Image does not say.
	PageSize int
	// InitSize is the memory in bytes that the kernel needs at its place until
	// it manages memory itself: init_size of a bzImage, image_size of an Image.
	InitSize uint64
	// CmdlineSize is the longest command line in bytes that the kernel takes,
	// without the terminating NUL.
	CmdlineSize int
	// SetupSize is the size in bytes of the setup code of a bzImage, before its
	// protected-mode kernel (Documentation/arch/x86/boot.rst); 0 for other kernels.
	SetupSize int
	// Signed reports whether the loadable bytes are a PE file with a certificate table
	// (signed for Secure Boot; the signer is not checked).
	Signed bool
	// KexecFile reports whether kexec_file_load(2) can take the loadable bytes.
	// Only a bzImage can fail: see bzImage64_probe in
	// arch/x86/kernel/kexec-bzimage64.c.
	KexecFile bool
	// FiveLevel reports whether an x86 kernel can be started from one that
	// uses 5-level page tables (XLF_5LEVEL). True on other architectures.
	FiveLevel bool

	// OtherBuild reports that Find looked for the running kernel, and that this is
	// another build of the same release: an upgrade has replaced the image.
	OtherBuild bool

	banner  string // as /proc/version shows it, on x86 without the compiler; "" if not known
	data    []byte
	payload []byte // x86: the compressed vmlinux, a part of data
}

// Loadable returns the bytes to give to kexec_file_load(2): a bzImage as it is,
// signature included; for arm64 the raw Image. The caller must not change them.
func (im *Image) Loadable() []byte { return im.data }

// Open reads and identifies the kernel image at path.
//
// Errors: of os.Open (fs.ErrNotExist and others, wrapped), *NotKernelError,
// *TruncatedError, *CompressionError, *CorruptError.
func Open(path string) (*Image, error) { return open(path, path) }

// open reads file and calls it path.
func open(path, file string) (*Image, error) {
	fail := func(err error) (*Image, error) {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			err = pe.Err // the path is in our message already
		}
		return nil, fmt.Errorf("read kernel: %s: %w", path, err)
	}
	st, err := os.Stat(file)
	if err != nil {
		return fail(err)
	}
	switch mode := st.Mode(); {
	case mode.IsDir():
		return nil, &NotKernelError{path, "a directory"}
	case !mode.IsRegular():
		return nil, &NotKernelError{path, "not a regular file"}
	}
	f, _, err := crashdir.OpenFile(file)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	return parse(path, f, st.Size())
}

// Parse identifies the kernel in data, which Loadable has returned, and keeps data.
// path is for messages. Errors are as for Open.
func Parse(path string, data []byte) (*Image, error) {
	im := &Image{Path: path}
	if err := im.identify(data); err != nil {
		return nil, err
	}
	return im, nil
}

// parse identifies the kernel in the size bytes of r.
func parse(path string, r io.ReaderAt, size int64) (*Image, error) {
	sec, err := ukiSection(path, r, size, ".linux")
	if err != nil {
		return nil, err
	}
	if sec != nil {
		r, size = sec, sec.Size()
	}
	if size > maxImage {
		return nil, &NotKernelError{path, fmt.Sprintf("too large: %d bytes", size)}
	}
	data := make([]byte, size)
	if n, err := r.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("read kernel: %s: %w", path, err)
	}
	im := &Image{Path: path, UKI: sec != nil}
	if err := im.identify(data); err != nil {
		return nil, err
	}
	return im, nil
}

// ukiSection returns a section of a unified kernel image, or nil if r is not one
// or does not have it. See "Unified Kernel Image", uapi-group.org/specifications.
func ukiSection(path string, r io.ReaderAt, size int64, name string) (*io.SectionReader, error) {
	f, err := pe.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, nil
	}
	sec := f.Section(name)
	if sec == nil {
		return nil, nil
	}
	n := int64(sec.Size)
	if v := int64(sec.VirtualSize); v > 0 && v < n {
		n = v // without the padding to the file's alignment
	}
	if end := int64(sec.Offset) + n; end > size {
		return nil, &TruncatedError{path, size, end}
	}
	return io.NewSectionReader(r, int64(sec.Offset), n), nil
}

// Initrd returns the part of data, which is the file at path, that is the initramfs
// of a unified kernel image; nil if it is none or has none. The error is a
// *TruncatedError.
func Initrd(path string, data []byte) ([]byte, error) {
	sec, err := ukiSection(path, bytes.NewReader(data), int64(len(data)), ".initrd")
	if sec == nil || err != nil {
		return nil, err
	}
	_, off, n := sec.Outer()
	return data[off : off+n], nil
}

// identify fills im from the kernel in data.
func (im *Image) identify(data []byte) error {
	switch {
	case len(data) < 64:
		return &TruncatedError{Path: im.Path, Have: int64(len(data))}
	case isBzImage(data):
		return im.bzImage(data)
	case isImage(data):
		im.Format = RawImage
		return im.image(data)
	case isZboot(data):
		return im.zboot(data)
	}
	method := compression(data)
	if slices.Contains([]string{"lz4", "lzma", "lzo", "bzip2"}, method) {
		return &CompressionError{Path: im.Path, Method: method}
	}
	format, ok := map[string]Format{"gzip": GzipImage, "zstd": ZstdImage, "xz": XZImage}[method]
	if !ok {
		if string(data[:2]) == "MZ" {
			if _, err := pe.NewFile(bytes.NewReader(data)); err != nil {
				return &CorruptError{im.Path, fmt.Errorf("EFI program (PE) is truncated or malformed: %w", err)}
			}
		}
		return &NotKernelError{im.Path, describe(data)}
	}
	inner, err := im.unpack(method, data)
	if err != nil {
		return err
	}
	if !isImage(inner) {
		return &NotKernelError{im.Path, method + "-compressed: inside is " + describe(inner)}
	}
	im.Format = format
	return im.image(inner)
}

// readPE notes a signature and finds a file cut short. The PE header is
// optional in kernel images: CONFIG_EFI_STUB.
func (im *Image) readPE(data []byte) error {
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	var dirs []pe.DataDirectory
	switch h := f.OptionalHeader.(type) {
	case *pe.OptionalHeader64:
		dirs = h.DataDirectory[:min(16, h.NumberOfRvaAndSizes)]
	case *pe.OptionalHeader32:
		dirs = h.DataDirectory[:min(16, h.NumberOfRvaAndSizes)]
	}
	end := int64(0)
	for _, s := range f.Sections {
		end = max(end, int64(s.Offset)+int64(s.Size))
	}
	if len(dirs) > pe.IMAGE_DIRECTORY_ENTRY_SECURITY {
		if d := dirs[pe.IMAGE_DIRECTORY_ENTRY_SECURITY]; d.Size > 0 {
			im.Signed = true
			end = max(end, int64(d.VirtualAddress)+int64(d.Size)) // here an offset in the file
		}
	}
	if end > int64(len(data)) {
		return &TruncatedError{im.Path, int64(len(data)), end}
	}
	return nil
}

// releaseOf returns the first word of a version string if it can be a kernel
// release, else "". Callers build paths from it.
func releaseOf(version []byte) string {
	s, _, _ := strings.Cut(string(version), " ")
	if s == "" || s[0] < '0' || s[0] > '9' || len(s) > 64 { // __NEW_UTS_LEN
		return ""
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '/' {
			return ""
		}
	}
	return s
}

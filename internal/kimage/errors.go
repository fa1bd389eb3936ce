package kimage

import (
	"bytes"
	"fmt"
	"strings"
)

// NotKernelError reports a file that is not a kernel image.
type NotKernelError struct {
	Path string
	What string // "a directory", "an ELF file (vmlinux?)"
}

func (e *NotKernelError) Error() string {
	return "read kernel: " + e.Path + ": not a kernel image: " + e.What
}

// TruncatedError reports a kernel image that ends too early.
type TruncatedError struct {
	Path string
	Have int64 // bytes
	Want int64 // bytes; 0 if unknown
}

func (e *TruncatedError) Error() string {
	switch {
	case e.Have == 0:
		return "read kernel: " + e.Path + ": file is empty"
	case e.Want == 0:
		return fmt.Sprintf("read kernel: %s: file is truncated: only %d bytes", e.Path, e.Have)
	}
	return fmt.Sprintf("read kernel: %s: file is truncated: %d of %d bytes", e.Path, e.Have, e.Want)
}

// CompressionError reports a kernel in a compression that this package cannot unpack.
type CompressionError struct {
	Path   string
	Method string // "lz4", "xz with other filters than LZMA2"
	Inside bool   // an EFI zboot file, which no tool unpacks
}

func (e *CompressionError) Error() string {
	return "read kernel: " + e.Path + ": cannot unpack " + e.Method + " (gzip, zstd and xz are supported)"
}

// unpackTools are commands that unpack a kernel that this package cannot.
var unpackTools = map[string]string{
	"lz4": "lz4 -dc", "lzma": "xz --format=lzma -dc", "lzo": "lzop -dc", "bzip2": "bzip2 -dc", "xz": "xz -dc", "zstd": "zstd --long=31 -dc",
}

// Advice returns the remedy.
func (e *CompressionError) Advice() string {
	method, _, _ := strings.Cut(e.Method, " ")
	if tool := unpackTools[method]; tool != "" && !e.Inside {
		return fmt.Sprintf("Unpack it with %s %s >/boot/Image, and set KERNEL=/boot/Image.", tool, e.Path)
	}
	return "Set KERNEL= to an unpacked Image of that kernel."
}

// CorruptError reports an image that has a kernel's header but is damaged.
type CorruptError struct {
	Path string
	Err  error
}

func (e *CorruptError) Error() string {
	return "read kernel: " + e.Path + ": damaged: " + e.Err.Error()
}

func (e *CorruptError) Unwrap() error { return e.Err }

// describe names the kinds of files that people take for a kernel image.
func describe(data []byte) string {
	for _, k := range []struct {
		off         int
		magic, what string
	}{
		{0, "\x7fELF", "an ELF file (vmlinux?)"},
		{0, "070701", "a cpio archive (initramfs)"},
		{0, "070702", "a cpio archive (initramfs)"},
		{0, "\x27\x05\x19\x56", "a U-Boot image"},
		{0, "\xd0\x0d\xfe\xed", "a device tree or FIT image"},
		{0, "ANDROID!", "an Android boot image"},
		{48, "RISCV\x00\x00\x00", "a kernel for riscv64, which is not supported"},
		{0, "\x1f\x8b", "gzip-compressed data"},
		{0, "\x28\xb5\x2f\xfd", "zstd-compressed data"},
		{0, "\x02\x21\x4c\x18", "lz4-compressed data (initramfs or Image.lz4)"},
		{0, "BZh", "bzip2-compressed data"},
		{0, "MZ", "an EFI or Windows program without a Linux kernel"},
		{0, "#!", "a script"},
	} {
		if len(data) > k.off && bytes.HasPrefix(data[k.off:], []byte(k.magic)) {
			return k.what
		}
	}
	return "unknown format"
}

// Package debug finds the vmlinux that belongs to a dump and the command that opens both in
// a debugger.
package debug

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
)

// Kernel is the kernel of a dump. Its texts are those of the dump, which anybody may have
// written.
type Kernel struct {
	Machine string // GOARCH name: amd64 or arm64
	Release string // as uname -r prints it, "" if not known
	Version string // as uname -v prints it, "" if not known
	BuildID string // in hexadecimal, "" if not known: VMCOREINFO has it since Linux 5.9
	Offset  uint64 // by which KASLR has moved the kernel, in bytes

	Header dumpfile.Header
}

// uname -v is in struct new_utsname behind sysname, nodename and release, 65 bytes each
// (include/uapi/linux/utsname.h), which is at offset 12 of a kdump-compressed file
// (diskdump_mod.h in makedumpfile's sources).
const (
	versionOffset = 12 + 3*65
	utsnameField  = 65
)

// Identify reads from a dump which kernel it is of.
func Identify(r io.ReaderAt) (Kernel, error) {
	h, err := dumpfile.ReadHeader(r)
	if err != nil {
		return Kernel{}, err
	}
	info, err := h.Info(r)
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{Header: h, Machine: h.Machine, Release: h.Release, BuildID: buildID(info.Get("BUILD-ID"))}
	if release := info.Release(); release != "" {
		k.Release = release
	}
	k.Offset = parseOffset(info.Get("KERNELOFFSET"))
	if h.Format == dumpfile.Kdump {
		var b [utsnameField]byte
		if _, err := r.ReadAt(b[:], versionOffset); err != nil {
			return Kernel{}, fmt.Errorf("read dump header: %w", err)
		}
		version, _, _ := bytes.Cut(b[:], []byte{0})
		k.Version = string(version)
	}
	return k, nil
}

// IdentifyFile is Identify for a file. The error names it.
func IdentifyFile(path string) (Kernel, error) {
	f, err := os.Open(path)
	if err != nil {
		return Kernel{}, err
	}
	defer f.Close()
	k, err := Identify(f)
	if err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// RunningBuildID returns the build ID of the running kernel, "" if it is not known. root is
// "/" but for tests.
func RunningBuildID(root string) string {
	b, err := crashdir.ReadFile(filepath.Join(root, "sys/kernel/notes"), maxNotes) // Documentation/ABI/testing/sysfs-kernel-notes
	if err != nil {
		return ""
	}
	return noteID(bytes.NewReader(b), uint64(len(b)), true)
}

// parseOffset parses KERNELOFFSET, hexadecimal digits without a prefix
// (arch_crash_save_vmcoreinfo in arch/x86/kernel/vmcore_info.c; 0x on arm64).
func parseOffset(s string) (n uint64) {
	if _, err := fmt.Sscanf(strings.TrimPrefix(s, "0x"), "%x", &n); err != nil {
		return 0
	}
	return n
}

// Lengths of a build ID in bytes. ld(1) makes 8 (xxhash), 16 (MD5, UUID) or 20 (SHA1)
// bytes; the kernel keeps at most 20 (BUILD_ID_SIZE_MAX in include/linux/buildid.h).
const (
	minBuildID = 4
	maxBuildID = 64
)

// buildID returns a build ID in lower case, "" if s cannot be one. A kernel that was
// linked without one has zeros.
func buildID(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) < minBuildID || len(b) > maxBuildID || len(bytes.TrimLeft(b, "\x00")) == 0 {
		return ""
	}
	return hex.EncodeToString(b)
}

// plain reports whether s can be a release: its characters mean nothing to a shell or in a
// path.
func plain(s string) bool {
	if s == "" || len(s) > 64 || strings.Trim(s, ".") == "" {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("._+-~", c) {
			return false
		}
	}
	return s[0] != '-'
}

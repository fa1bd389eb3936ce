// Package archive packs a dump into one file to give away, with private facts struck out on
// request, and takes such files and the vmcores of other tools in.
package archive

import (
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"ukdump/internal/crashdir"
)

// Limits of an archive. Every text of a capture is far below: log_buf_len is 2 GiB at most,
// but nobody sets it.
const (
	maxText  = 256 << 20 // bytes of a log or report
	maxFiles = 64 + maxBTFNum
	maxName  = 200 // bytes
	// spare is the room that an import leaves free.
	spare = 16 << 20
)

// texts are the files of a dump that are text, by their names without a suffix
// "-incomplete".
var texts = []string{"vmcore-dmesg.txt", "kexec-dmesg.log", "report.json", "report.txt", "crash.json", "report.html"}

// configName matches the files of the configuration in an archive: ukdump.conf, or one of
// ukdump.conf.d.
var configName = regexp.MustCompile(`^config/[A-Za-z0-9][A-Za-z0-9._-]*\.conf$`)

// vmcoreName matches the vmcore of a dump, complete or not.
var vmcoreName = regexp.MustCompile(`^vmcore(\.age)?(-incomplete(\.[0-9]{1,3})?)?$`)

// isText reports whether name is that of a text in a dump, which may be encrypted.
func isText(name string) bool {
	name = strings.TrimSuffix(name, crashdir.Suffix)
	return slices.Contains(texts, strings.TrimSuffix(name, crashdir.Sealed))
}

// member returns the name of a file of an archive below the directory of the dump. It
// refuses every name that no export gives.
func member(name string) (string, error) {
	if len(name) > maxName || path.Clean(name) != name || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return "", errors.New("not a name of an exported file")
	}
	if _, below, ok := strings.Cut(name, "/"); ok {
		name = below
	}
	if isText(name) || name == kernelConfig || vmcoreName.MatchString(name) || configName.MatchString(name) || btfName.MatchString(name) {
		return name, nil
	}
	return "", errors.New("not a name of an exported file")
}

// errLong is the error of a file with more bytes than its limit.
var errLong = errors.New("too long")

// copyMost copies r to w, and returns errLong after limit bytes.
func copyMost(w io.Writer, r io.Reader, limit int64) (int64, error) {
	n, err := io.Copy(w, io.LimitReader(r, limit))
	if err != nil || n < limit {
		return n, err
	}
	var b [1]byte
	if m, _ := io.ReadFull(r, b[:]); m > 0 {
		return n, errLong
	}
	return n, nil
}

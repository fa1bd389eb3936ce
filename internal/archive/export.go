package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"ukdump/internal/advice"
	"ukdump/internal/crashdir"
	"ukdump/internal/unseal"
)

// Export is one archive of a dump.
type Export struct {
	Dump   crashdir.Dump
	Vmcore bool      // with the vmcore
	Scrub  *Scrubber // nil to strike out nothing
	Config []string  // paths of files of the configuration
	Kernel *Kernel   // nil without files about the kernel
	// NoTypes is set by Write if the archive lacks types of the kernel.
	NoTypes *NoTypesError
	// Identities decrypt the files that are encrypted; nil to leave them so.
	Identities *unseal.Identities
}

// Check returns why the archive cannot be made.
func (e *Export) Check() error {
	switch {
	case e.Vmcore && e.Scrub != nil:
		return advice.With(errors.New("a vmcore is the memory of the machine: --scrub cannot clean it"), "Give one of --vmcore and --scrub.")
	case e.Vmcore && e.Dump.Vmcore == "":
		return fmt.Errorf("dump %s: no vmcore in it", e.Dump.Name)
	}
	return nil
}

// Write writes the archive, a tar archive in zstd. copied is called with the bytes that were
// read, and may be nil.
func (e *Export) Write(w io.Writer, copied func(n int64)) error {
	if err := e.Check(); err != nil {
		return err
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	a := &writer{tar: tar.NewWriter(z), dir: e.Dump.Name, time: e.Dump.Time, scrub: e.Scrub, copied: copied}
	for _, base := range texts {
		if base == "report.html" && e.Scrub != nil {
			continue // placeholders would be elements of HTML; report.txt has the same
		}
		for _, name := range e.namesOf(base) {
			if err := e.addText(a, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, name := range e.Config {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = a.text(path.Join("config", filepath.Base(name)), f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if e.Kernel != nil {
		if err := a.kernel(e.Kernel); err != nil && !errors.As(err, &e.NoTypes) {
			return err
		}
	}
	if e.Vmcore {
		if err := e.addVmcore(a); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(e.Dump.Vmcore), err)
		}
	}
	if err := a.tar.Close(); err != nil {
		return err
	}
	return z.Close()
}

// namesOf returns the names of the files of the dump that are versions of a text. With an
// identity, the encrypted version takes the place of the other one, which lacks some facts.
// What cannot be scrubbed is left out.
func (e *Export) namesOf(base string) []string {
	plain, sealed := []string{base, base + crashdir.Suffix}, base+crashdir.Sealed
	f, err := e.Dump.Open(sealed)
	if err != nil {
		return plain
	}
	f.Close()
	switch {
	case e.Identities != nil:
		return []string{sealed}
	case e.Scrub != nil:
		return plain
	}
	return append(plain, sealed)
}

// addText adds a text of the dump, if it has it.
func (e *Export) addText(a *writer, name string) error {
	f, err := e.Dump.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		if fi, e := os.Lstat(filepath.Join(e.Dump.Path, name)); e == nil && !fi.Mode().IsRegular() {
			err = advice.With(err, "Remove it: a capture makes only files.")
		}
		return err
	}
	defer f.Close()
	plain, ok := strings.CutSuffix(name, crashdir.Sealed)
	if !ok || e.Identities == nil {
		return a.text(name, f)
	}
	r, err := unsealed(f, e.Identities)
	if err != nil {
		return err
	}
	return a.textOf(plain, r, r.Size())
}

// addVmcore adds the vmcore.
func (e *Export) addVmcore(a *writer) error {
	name := filepath.Base(e.Dump.Vmcore)
	f, err := e.Dump.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if e.Dump.Sealed() && e.Identities != nil {
		r, err := unsealed(f, e.Identities)
		if err != nil {
			return err
		}
		return a.file(strings.Replace(name, crashdir.Sealed, "", 1), r, r.Size())
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return a.file(name, f, fi.Size())
}

// unsealed returns a reader of the content of an encrypted file.
func unsealed(f *os.File, ids *unseal.Identities) (*io.SectionReader, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := unseal.Open(f, fi.Size(), ids)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(r, 0, r.Size()), nil
}

// writer writes the files of an archive.
type writer struct {
	tar    *tar.Writer
	dir    string
	time   time.Time
	scrub  *Scrubber
	copied func(int64)
}

// text adds a text, scrubbed if that is asked for. A scrubbed one is kept in a file until its
// size is known.
func (a *writer) text(name string, f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	return a.textOf(name, f, fi.Size())
}

// textOf is text for the first size bytes of r.
func (a *writer) textOf(name string, r io.Reader, size int64) error {
	if size > maxText {
		return fmt.Errorf("%d bytes: not a text of a dump", size)
	}
	if a.scrub == nil {
		return a.file(name, r, size)
	}
	tmp, err := os.CreateTemp("", "ukdump-export")
	if err != nil {
		return err
	}
	defer tmp.Close()
	if err := os.Remove(tmp.Name()); err != nil {
		return err
	}
	if err := a.scrub.Copy(tmp, io.LimitReader(r, size)); err != nil {
		return err
	}
	size, err = tmp.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = tmp.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	return a.file(name, tmp, size)
}

// file adds the first size bytes of r.
func (a *writer) file(name string, r io.Reader, size int64) error {
	h := &tar.Header{Name: a.dir + "/" + name, Typeflag: tar.TypeReg, Mode: 0o600, Size: size, ModTime: a.time, Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(a.tar, &counted{io.LimitReader(r, size), a.copied})
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF // a file that somebody made shorter
	}
	return err
}

// counted calls a function with the number of bytes that were read.
type counted struct {
	r    io.Reader
	call func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.call != nil {
		c.call(int64(n))
	}
	return n, err
}

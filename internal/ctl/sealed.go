package ctl

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/dump"
	"ukdump/internal/dumpfile"
	"ukdump/internal/unseal"
)

// addIdentity adds --identity.
func (o *dumpOptions) addIdentity(f *pflag.FlagSet) {
	f.StringVar(&o.identity, "identity", "", "`FILE` decrypt with the private keys of age-keygen in this file")
}

// identities reads the file of --identity. It is nil without that.
func (o *dumpOptions) identities() (*unseal.Identities, error) {
	if o.identity == "" {
		return nil, nil
	}
	return unseal.ReadIdentities(o.identity)
}

// sealedError reports a file that is encrypted, where no identity was given.
type sealedError struct{ recipients int }

func (e *sealedError) Error() string { return "encrypted to " + unseal.Keys(e.recipients) }

// Advice returns the option to use.
func (e *sealedError) Advice() string {
	return "Give --identity FILE with the private key that belongs to one of the recipients."
}

// content is an open file of a dump, decrypted while it is read if it is encrypted.
type content struct {
	*io.SectionReader
	sealed bool
	file   *os.File
}

// Close closes the file.
func (c *content) Close() error { return c.file.Close() }

// openContent reads the content of f, which is closed with it and after an error.
func openContent(f *os.File, ids *unseal.Identities) (*content, error) {
	c, err := contentOf(f, ids)
	if err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

func contentOf(f *os.File, ids *unseal.Identities) (*content, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if !unseal.Is(f) {
		return &content{io.NewSectionReader(f, 0, size), false, f}, nil
	}
	if ids == nil {
		info, err := unseal.Inspect(f, size)
		if info.Recipients > 0 {
			err = &sealedError{info.Recipients}
		}
		return nil, err
	}
	r, err := unseal.Open(f, size, ids)
	if err != nil {
		return nil, err
	}
	return &content{io.NewSectionReader(r, 0, r.Size()), true, f}, nil
}

// openContentOf is openContent for a file that is named by the caller. The error names it.
func openContentOf(path string, ids *unseal.Identities) (*content, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	c, err := openContent(f, ids)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// openDump is dump.Open, for an encrypted file, too.
func openDump(path string, ids *unseal.Identities) (*dump.Dump, error) {
	f, err := os.Open(path)
	if err != nil {
		return dump.Open(path) // which words the error
	}
	if !unseal.Is(f) {
		f.Close()
		return dump.Open(path) // which knows the files of a split dump
	}
	c, err := openContent(f, ids)
	if err != nil {
		return nil, fmt.Errorf("open dump %s: %w", path, err)
	}
	d, err := dump.New(c, c.Size())
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open dump %s: %w", path, err)
	}
	d.AlsoClose(c)
	return d, nil
}

// hasSealed reports whether a file of the dump is encrypted that a report is made of.
func hasSealed(d *crashdir.Dump) bool {
	return d.Sealed() || hasFile(d, crashdir.Dmesg+crashdir.Sealed)
}

// hasText reports whether the dump has a log that is not encrypted.
func hasText(d *crashdir.Dump) bool {
	return hasFile(d, crashdir.Dmesg) || hasFile(d, crashdir.Dmesg+crashdir.Suffix)
}

func hasFile(d *crashdir.Dump, name string) bool {
	f, err := d.Open(name)
	return err == nil && f.Close() == nil
}

// unsealReport gives a dump the report that is encrypted beside its vmcore, if there is one.
// That which is not encrypted lacks all that is in the log.
func unsealReport(d *crashdir.Dump, ids *unseal.Identities) error {
	if ids == nil {
		return nil
	}
	const name = crashdir.ReportFile + crashdir.Sealed
	f, err := d.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := openContent(f, ids)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer c.Close()
	const most = 1 << 20 // as ParseReport
	b, err := crashdir.ReadAll(c, most)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r, err := crashdir.ParseReport(b)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d.Report, d.ReportErr = r, nil
	return nil
}

// decryptedCopy writes the content to a file without a name, which ends with the last process
// that has it open, and returns a path of it for a program that this one is replaced by.
func (c *ctl) decryptedCopy(memory *content) (string, error) {
	dir := largeTemp()
	if err := roomForDecrypted(dir, memory.Size()); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "ukdump-debug-") // mode 0600
	if err != nil {
		return "", err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return "", err
	}
	task := c.Begin("decrypting %s", memory.file.Name())
	err = copyCore(f, &sharing{Reader: io.NewSectionReader(memory, 0, memory.Size()), task: task, total: memory.Size()})
	task.End()
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFD, 0) // it stays open in the debugger
	}
	if err != nil {
		f.Close()
		return "", fmt.Errorf("decrypt %s: %w", memory.file.Name(), err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), nil
}

// copyCore writes the dump in r to an empty file, a flattened one rearranged. It reads r to
// its end.
func copyCore(f *os.File, r io.Reader) error {
	head := make([]byte, 16)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return err
	}
	all := io.MultiReader(bytes.NewReader(head[:n]), r)
	if dumpfile.IsFlattened(head[:n]) {
		_, err := dumpfile.Unflatten(f, all)
		return err
	}
	_, err = io.Copy(f, all)
	return err
}

// roomForDecrypted returns an error if a decrypted dump of size bytes has no room in dir.
func roomForDecrypted(dir string, size int64) error {
	return roomFor(dir, size, "the decrypted dump", "Free some space, or name another directory: TMPDIR for debug, --output for decrypt.")
}

// roomFor returns an error, with the advice, if a file of size bytes has no room in dir.
func roomFor(dir string, size int64, file, text string) error {
	const spare = 16 << 20 // for the rest of the machine
	room, err := crashdir.RoomIn(dir)
	if err != nil {
		return fmt.Errorf("room in %s: %w", dir, err)
	}
	if free := min(room.Free-spare, room.Largest); size > free {
		return advice.With(fmt.Errorf("%s takes %s, %s has %s free", file, cli.Size(size), dir, cli.Size(room.Free)), text)
	}
	return nil
}

// sharing tells a task how much was read.
type sharing struct {
	io.Reader
	task        *cli.Task
	done, total int64
}

// Read implements io.Reader.
func (s *sharing) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.done += int64(n)
	s.task.Share(s.done, cmp.Or(s.total, 1))
	return n, err
}

package ctl

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/internal/unseal"
)

const aboutDecrypt = `Decrypts the files of a dump that ENCRYPT has encrypted: the vmcore, and the log and the
report if they are encrypted, too. The private key is needed here only: info, report, log,
debug and export read an encrypted dump themselves with --identity, without a copy on disk
except for debug.

The vmcore is verified before it gets its name. If a file was truncated, the part
before the damage is kept as vmcore-incomplete.

DUMP is a name as for info, FILE an encrypted file of a dump.`

// decryptOptions are the options of decrypt.
type decryptOptions struct {
	dumpOptions
	output string
	remove bool
}

func (c *ctl) decryptVerb() *cli.Command {
	var o decryptOptions
	return &cli.Command{
		Name: "decrypt", Summary: "decrypt a dump", About: aboutDecrypt,
		Options: func(f *pflag.FlagSet) {
			o.addIdentity(f)
			f.StringVarP(&o.output, "output", "o", "", "`DIRECTORY` write to this directory (default: that of the dump)")
			f.BoolVar(&o.remove, "remove", false, "remove the encrypted files after that")
			o.addDir(f)
		},
		Args: "DUMP | FILE", Min: 1, Max: 1, Values: c.dumpNames(&o.dumpOptions), Files: true,
		Run: func(args []string) error { return c.decrypt(o, args[0]) },
	}
}

func (c *ctl) decrypt(o decryptOptions, name string) error {
	ids, err := o.identities()
	if err != nil {
		return err
	}
	if ids == nil {
		return cli.Usage(errors.New("decrypt: --identity is missing: give the file that age-keygen has written"))
	}
	if o.output == cli.StandardOutput {
		return cli.Usage(errors.New("decrypt: --output takes a directory: for one called -, give ./-"))
	}
	d, file, err := c.dumpOrFile(o.dir, name)
	if err != nil {
		return err
	}
	j := &decryption{c: c, ids: ids}
	if file != "" {
		err = j.ofFile(file, o.output)
	} else {
		err = j.ofDump(d, o.output)
	}
	if err != nil {
		return err
	}
	defer j.close()
	if err := j.run(); err != nil {
		return err
	}
	if o.remove {
		return j.removeSealed()
	}
	return nil
}

// decryption is one run of decrypt.
type decryption struct {
	c     *ctl
	ids   *unseal.Identities
	from  folder
	names []string // of the encrypted files in from, the vmcore last
	to    folder
	whole []string // of names, those that were decrypted as a whole
}

// folder is a directory with files of a dump: a *crashdir.Folder or a *directory.
type folder interface {
	Open(name string) (*os.File, error)
	Create(name string) (*os.File, error)
	Commit(name string) error // renames NAME-incomplete to NAME
	Remove(name string) error
	Close() error
}

// ofDump prepares the decryption of a dump.
func (j *decryption) ofDump(d crashdir.Dump, output string) error {
	dir, err := crashdir.OpenFolder(d)
	if err != nil {
		return err
	}
	if err := j.into(dir, output); err != nil {
		return err
	}
	for _, base := range []string{crashdir.Dmesg, crashdir.CaptureLog, crashdir.ReportFile, crashdir.Vmcore} {
		for _, name := range []string{base + crashdir.Sealed, base + crashdir.Sealed + crashdir.Suffix} {
			f, err := dir.Open(name)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				j.close()
				return err
			}
			f.Close()
			j.names = append(j.names, name)
			break
		}
	}
	if len(j.names) == 0 {
		j.close()
		return fmt.Errorf("decrypt %s: no file in it is encrypted", d.Name)
	}
	return nil
}

// ofFile prepares the decryption of one file.
func (j *decryption) ofFile(path, output string) error {
	name := filepath.Base(path)
	if plain, _ := plainName(name); plain == "" {
		return advice.With(fmt.Errorf("decrypt %s: the name of an encrypted file ends in %s", path, crashdir.Sealed), "Rename it, for example to vmcore.age.")
	}
	dir, err := openDirectory(filepath.Dir(path))
	if err != nil {
		return err
	}
	j.names = []string{name}
	return j.into(dir, output)
}

// into sets the directories to read from and to write to.
func (j *decryption) into(from folder, output string) error {
	j.from, j.to = from, from
	if output == "" {
		return nil
	}
	err := os.MkdirAll(output, 0o700)
	if errors.Is(err, unix.ENOTDIR) {
		err = advice.With(fmt.Errorf("decrypt to %s: %w", output, err), "Give --output a directory.")
	}
	if err == nil {
		j.to, err = openDirectory(output)
	}
	if err != nil {
		from.Close()
	}
	return err
}

func (j *decryption) close() {
	j.from.Close()
	if j.to != j.from {
		j.to.Close()
	}
}

// plainName returns the name of a file without ".age", "" if it has another name, and
// whether the encrypted file is not whole.
func plainName(name string) (plain string, part bool) {
	name, part = strings.CutSuffix(name, crashdir.Suffix)
	plain, ok := strings.CutSuffix(name, crashdir.Sealed)
	if !ok {
		return "", part
	}
	return plain, part
}

// run decrypts the files.
func (j *decryption) run() error {
	for _, name := range j.names {
		plain, _ := plainName(name)
		if plain != crashdir.Vmcore {
			continue
		}
		if f, err := j.to.Open(plain); err == nil {
			f.Close()
			return advice.With(fmt.Errorf("decrypt %s: %s is there already", name, f.Name()), "Remove it, or give --output.")
		}
	}
	for _, name := range j.names {
		if err := j.file(name); err != nil {
			return fmt.Errorf("decrypt %s: %w", name, err)
		}
	}
	return nil
}

// file decrypts one file. It gets its name when it is known to be whole and on disk.
func (j *decryption) file(name string) error {
	plain, part := plainName(name)
	src, err := j.from.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	r, size, err := j.reader(src)
	if err != nil {
		return err
	}
	dst, err := j.to.Create(plain + crashdir.Suffix)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := roomForDecrypted(filepath.Dir(dst.Name()), size); err != nil {
		j.to.Remove(plain + crashdir.Suffix)
		return err
	}
	task := j.c.Begin("decrypting %s", name)
	err = copyCore(dst, &sharing{Reader: r, task: task, total: size})
	task.End()
	if serr := dst.Sync(); err == nil {
		err = serr
	}
	var damaged *unseal.DamagedError
	var flat *dumpfile.FlatError
	cut := errors.As(err, &damaged) || errors.As(err, &flat)
	switch {
	case cut && part: // as its name says
		j.c.Say("decrypted a part of %s: %v", dst.Name(), err)
		return nil
	case cut:
		return advice.With(err, "The part before the damage is in "+dst.Name()+".")
	case err != nil:
		j.to.Remove(plain + crashdir.Suffix)
		return err
	}
	return j.finish(dst, plain, name, part)
}

// reader returns a reader of the content of an encrypted file, and the size of that in bytes,
// as far as it is known.
func (j *decryption) reader(src *os.File) (io.Reader, int64, error) {
	fi, err := src.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !fi.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	info, err := unseal.Inspect(src, fi.Size())
	if info.Header == 0 && err != nil {
		return nil, 0, err
	}
	r, err := unseal.NewReader(src, j.ids)
	return r, cmp.Or(info.Plain, fi.Size()), err
}

// finish verifies a decrypted file and gives it its name.
func (j *decryption) finish(dst *os.File, plain, name string, part bool) error {
	fi, err := dst.Stat()
	if err != nil {
		return err
	}
	h, err := dumpfile.ReadHeader(dst)
	isCore := err == nil
	if isCore {
		err = h.Verify(dst, fi.Size())
	}
	if isCore && err == nil {
		err = h.VerifyImage(dst)
	}
	if err != nil && (isCore || plain == crashdir.Vmcore) {
		if part {
			j.c.Say("decrypted %s, which is not whole: %v", dst.Name(), err)
			return nil
		}
		return advice.With(err, "The encryption is intact, but the dump is not. The decrypted file is "+dst.Name()+".")
	}
	if err := j.to.Commit(plain); err != nil {
		return err
	}
	j.whole = append(j.whole, name)
	j.c.Say("decrypted %s, %s", strings.TrimSuffix(dst.Name(), crashdir.Suffix), cli.Size(fi.Size()))
	return nil
}

// removeSealed removes the encrypted files that were decrypted as a whole.
func (j *decryption) removeSealed() error {
	for _, name := range j.whole {
		if err := j.from.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// directory is a directory that the caller has named.
type directory struct {
	*os.Root
}

func openDirectory(path string) (*directory, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &directory{root}, nil
}

// Open opens a file for reading. Without O_NONBLOCK opening a FIFO would wait for its writer.
func (d *directory) Open(name string) (*os.File, error) {
	return d.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// Create opens a new or truncated file for reading and writing, mode 0600.
func (d *directory) Create(name string) (*os.File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

// Commit gives a file its final name and makes that durable.
func (d *directory) Commit(name string) error {
	if err := d.Rename(name+crashdir.Suffix, name); err != nil {
		return err
	}
	return crashdir.SyncDir(d.Name())
}

package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/archive"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/symbols"
	"ukdump/internal/unseal"
)

// errInterrupted is the error of what a signal has ended.
var errInterrupted = errors.New("interrupted")

// untilSignal returns a context that ends with the first signal that asks for the end. The
// second one ends the program.
func untilSignal() (context.Context, func()) {
	signals, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(signals, stop)
	ctx, cancel := context.WithCancelCause(context.Background())
	context.AfterFunc(signals, func() { cancel(errInterrupted) })
	return ctx, stop
}

// newFile makes a file that appears when it is whole, readable by its owner only. It fails if
// there is one already.
func newFile(ctx context.Context, path string, write func(io.Writer) error) error {
	if err := cli.CheckOutput(path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if _, err := os.Lstat(path); err == nil {
		return advice.With(fmt.Errorf("write %s: the file exists", path), "Remove it, or give --output another name.")
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, crashdir.WithoutPath(err))
	}
	defer os.Remove(f.Name()) // for an error, and the first name of a link
	err = write(&interruptible{ctx, f})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return renameNew(f.Name(), path)
}

// renameNew renames a file to a name that must not be taken.
func renameNew(old, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // as NFS, see rename(2)
		err = crashdir.WithoutPath(os.Link(old, path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// interruptible is a writer that ends with a context.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i *interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.w.Write(p)
}

// kernelOf returns the files about the kernel of a dump, and a function that closes it.
func (c *ctl) kernelOf(d *crashdir.Dump, ids *unseal.Identities) (k *archive.Kernel, closeDump func()) {
	k = &archive.Kernel{Root: c.root, Ours: !imported(d)}
	if d.Report != nil {
		k.Release = d.Report.Kernel
	}
	if d.Vmcore == "" {
		return k, func() {}
	}
	memory, err := openDump(d.Vmcore, ids)
	if err != nil {
		k.Unread = err
		return k, func() {}
	}
	info := memory.Info()
	k.Release, k.BuildID = cmp.Or(info.Release(), k.Release), info.Get("BUILD-ID")
	k.Memory, k.Unread = symbols.Open(memory, info, memory.Machine())
	return k, func() { memory.Close() }
}

// warnNoTypes warns of an archive without types of the kernel, if there is a vmcore that can
// be read.
func (c *ctl) warnNoTypes(e *archive.Export) {
	if e.NoTypes != nil && e.Dump.Vmcore != "" && (e.Identities != nil || !e.Dump.Sealed()) {
		c.Warn(fmt.Sprint(e.NoTypes))
	}
}

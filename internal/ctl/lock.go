package ctl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/crashdir"
)

// lockWait is how long one kdumpctl waits for another: longer than it takes to
// build an image on a slow machine.
const (
	lockWait  = 2 * time.Minute
	lockPause = 100 * time.Millisecond
)

func (c *ctl) lockFile() string { return filepath.Join(c.root, "run/ukdump.lock") }

// lockedOut is the error of a verb that waited in vain for another kdumpctl; pid is
// 0 if that is not known.
func lockedOut(verb string, pid int) error {
	err := fmt.Errorf("%s: another kdumpctl has been at work for %v", verb, lockWait)
	if pid == 0 {
		return advice.With(err, "Try again when it has ended.")
	}
	return advice.With(fmt.Errorf("%w (process %d)", err, pid), fmt.Sprintf("See what it does with ps %d, and try again when it has ended.", pid))
}

// lock waits until no other kdumpctl changes what is loaded or what is on disk.
// The kernel releases the lock with the process, however that ends.
func (c *ctl) lock(verb string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(c.lockFile()), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(c.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for waited := time.Duration(0); ; waited += lockPause {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", c.lockFile(), err)
		}
		if waited >= lockWait {
			pid := make([]byte, 16)
			n, _ := f.ReadAt(pid, 0)
			f.Close()
			other, _ := strconv.Atoi(strings.TrimSpace(string(pid[:n])))
			return nil, lockedOut(verb, other)
		}
		c.sleep(lockPause)
	}
	// For the message of another one.
	if f.Truncate(0) == nil {
		io.WriteString(f, strconv.Itoa(os.Getpid())+"\n")
	}
	return func() { release(f) }, nil
}

// release unlocks f at once. Closing alone leaves the lock to a child that was
// forked a moment ago and has not yet reached its execve(2) (flock(2)).
func release(f *os.File) {
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	f.Close()
}

// sweepAge is how old a temporary file must be to belong to nobody.
// mkkdumpinitrd takes no lock.
const sweepAge = 10 * time.Minute

// sweep removes the temporary files of programs that were killed. The caller has
// the lock.
func (c *ctl) sweep() {
	state := filepath.Join(c.root, builder.StateDir)
	unpacked, _ := filepath.Glob(filepath.Join(state, unpackedDirs))
	for _, dir := range unpacked { // verify has the lock, too
		os.RemoveAll(dir)
	}
	for _, pattern := range []string{".initramfs-*.img.*", "*" + crashdir.Suffix, "last-good/*" + crashdir.Suffix} {
		names, _ := filepath.Glob(filepath.Join(state, pattern))
		for _, name := range names {
			fi, err := os.Lstat(name)
			if err != nil {
				continue
			}
			// A clock that was put back makes no file older.
			if age := time.Since(fi.ModTime()); age < 0 || age > sweepAge {
				os.Remove(name)
			}
		}
	}
}

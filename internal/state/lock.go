package state

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
	"ukdump/internal/crashdir"
)

// LockWait is how long one kdumpctl waits for another: longer than it takes to
// build an image on a slow machine.
const (
	LockWait  = 2 * time.Minute
	lockPause = 100 * time.Millisecond
)

// lockedOut is the error of a verb that waited in vain for another kdumpctl; pid is
// 0 if that is not known.
func lockedOut(verb string, pid int) error {
	err := fmt.Errorf("%s: another kdumpctl has been at work for %v", verb, LockWait)
	if pid == 0 {
		return advice.With(err, "Try again when it has ended.")
	}
	return advice.With(fmt.Errorf("%w (process %d)", err, pid), fmt.Sprintf("See what it does with ps %d, and try again when it has ended.", pid))
}

// Lock waits with sleep until no other kdumpctl changes the crash slot or the files
// on disk. The kernel releases the lock with the process, however that ends.
func (st Store) Lock(verb string, sleep func(time.Duration)) (unlock func(), err error) {
	path := filepath.Join(st.Root, "run/ukdump.lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
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
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if waited >= LockWait {
			pid := make([]byte, 16)
			n, _ := f.ReadAt(pid, 0)
			f.Close()
			other, _ := strconv.Atoi(strings.TrimSpace(string(pid[:n])))
			return nil, lockedOut(verb, other)
		}
		sleep(lockPause)
	}
	// For the message of another one.
	if f.Truncate(0) == nil {
		io.WriteString(f, strconv.Itoa(os.Getpid())+"\n")
	}
	return func() { release(f) }, nil
}

// Busy reports whether another kdumpctl has the lock of Lock now.
func (st Store) Busy() bool {
	f, err := os.Open(filepath.Join(st.Root, "run/ukdump.lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
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

// LockAnnounce keeps others from announcing at the same time. It does not wait.
func (st Store) LockAnnounce() (unlock func(), err error) {
	return st.tryLock("announce.lock", "another kdumpctl announce is running")
}

// tryLock locks a file in Dir; taken is the error if another process has it.
func (st Store) tryLock(name, taken string) (unlock func(), err error) {
	path := st.file(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", taken, err)
	}
	return func() { release(f) }, nil
}

// UnpackedDirs is the pattern of the directories in Dir that verify unpacks images
// into.
const UnpackedDirs = ".verify-*"

// Sweep removes the temporary files of programs that were killed. The caller has
// the lock.
func (st Store) Sweep() {
	unpacked, _ := filepath.Glob(st.file(UnpackedDirs))
	for _, dir := range unpacked { // verify has the lock, too
		os.RemoveAll(dir)
	}
	for _, pattern := range []string{".initramfs-*.img.*", "*" + crashdir.Suffix, fallbackDir + "/*" + crashdir.Suffix} {
		names, _ := filepath.Glob(st.file(pattern))
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

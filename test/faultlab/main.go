// Faultlab does the work in the machines of the fault tests that a shell cannot
// do: it changes images, loads them without the checks of kdumpctl, and lists
// the dumps after a crash.
//
// Synopsis:
//
//	faultlab edit IN OUT CHANGE...
//	faultlab load IMAGE [WORD|-WORD]...
//	faultlab fill DIRECTORY KIB
//	faultlab memory MIB
//	faultlab files DIRECTORY COUNT
//	faultlab watchdog SECONDS
//	faultlab look FILE MARK DIRECTORY...
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "faultlab:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "edit":
		return edit(args[1], args[2], args[3:])
	case len(args) >= 2 && args[0] == "load":
		return load(args[1], args[2:])
	case len(args) == 3 && args[0] == "fill":
		kib, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return fill(args[1], kib<<10)
	case len(args) == 2 && args[0] == "memory":
		mib, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return memory(mib)
	case len(args) == 3 && args[0] == "files":
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return files(args[1], count)
	case len(args) == 2 && args[0] == "watchdog":
		seconds, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return watchdog(seconds)
	case len(args) >= 4 && args[0] == "look":
		return look(args[1], args[2], args[3:])
	}
	return fmt.Errorf("usage: see its package comment")
}

// fill takes all space of the file system of dir except the given size, as far
// as its blocks allow.
func fill(dir string, leave int64) error {
	reserve := dir + "/filler-reserve"
	if leave > 0 {
		if err := allocate(reserve, leave); err != nil {
			return err
		}
	}
	n := 0
	for size := int64(1 << 30); size >= 4096; size /= 2 {
		for {
			name := fmt.Sprintf("%s/filler-%d", dir, n)
			if allocate(name, size) != nil {
				os.Remove(name)
				break
			}
			n++
		}
	}
	if leave > 0 {
		if err := os.Remove(reserve); err != nil {
			return err
		}
	}
	unix.Sync()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	fmt.Printf("%s: %d KiB free, %d inodes\n", dir, int64(st.Bavail)*st.Bsize>>10, st.Ffree)
	return nil
}

func allocate(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), 0, 0, size)
}

// watchdog arms the first watchdog and returns. A child keeps feeding the
// watchdog until the machine crashes, as a daemon would.
func watchdog(seconds int) error {
	if os.Getenv("FAULTLAB_CHILD") == "" {
		p, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
			Env:   []string{"FAULTLAB_CHILD=1"},
			Files: []*os.File{nil, os.Stdout, os.Stderr},
		})
		if err != nil {
			return err
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if b, err := os.ReadFile("/sys/class/watchdog/watchdog0/state"); err == nil && string(b) == "active\n" {
				return p.Release()
			}
		}
		return fmt.Errorf("the watchdog is not active after 10 s")
	}
	f, err := os.OpenFile("/dev/watchdog0", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	// Documentation/watchdog/watchdog-api.rst
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, seconds); err != nil {
		return fmt.Errorf("set the timeout: %w", err)
	}
	for {
		if _, err := f.Write([]byte{0}); err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
}

// Badcollector replaces makedumpfile in the images of fault tests. Instead of
// saving the memory it fails as its configuration says.
//
// /etc/badcollector has one line: one of the names in faults, after "first " if
// only the first run is to fail. The later runs are those of the real
// makedumpfile, which is beside this program as makedumpfile.real.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	configFile = "/etc/badcollector"
	beganFile  = "/run/badcollector.began"
	realSuffix = ".real"
)

// output is the last argument of makedumpfile, or standard output if the last
// argument is the vmcore itself (-F).
var output = func() string {
	if last := os.Args[len(os.Args)-1]; last != "/proc/vmcore" {
		return last
	}
	return "/dev/stdout"
}()

// faults end the process or return; after a return the real makedumpfile takes
// over.
var faults = map[string]func(){
	"exit1":      func() { exit(1, "cannot do it") },
	"half-exit1": func() { runHalf(); exit(1, "write error") },
	"half-killed": func() {
		runHalf()
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	},
	"half-exit0": func() { runHalf(); exit(0, "") },
	"garbage": func() {
		write(bytes.Repeat([]byte("this is no dump "), 1<<16))
		exit(0, "")
	},
	"empty":     func() { write(nil); exit(0, "") },
	"no-output": func() { exit(0, "") },
	// The whole dump was written and then cut: its header is good.
	"truncated": func() {
		run(0)
		if fi, err := os.Stat(output); err == nil {
			os.Truncate(output, fi.Size()*3/4)
		}
		exit(0, "")
	},
	// A valid header and bitmaps that name no page.
	"no-pages": func() { runHalf(); removePages(); exit(0, "") },
	"deleted":  func() { run(0); os.Remove(output); exit(0, "") },
	"unsupported": func() {
		fmt.Fprintln(os.Stderr, "The kernel version is not supported.\nThe makedumpfile operation may be incomplete.")
	},
	"hang": func() { hang() },
	"hang-half": func() {
		runHalf()
		hang()
	},
	"chatter": func() { // endless output, but the file does not grow
		for {
			fmt.Print("Checking for memory holes : [ 12.0 %] \r")
			time.Sleep(100 * time.Millisecond)
		}
	},
	"slow": func() { // a tenth of a per cent each second: a quarter of an hour in all
		for i := 0; ; i++ {
			fmt.Fprintf(os.Stderr, "\rCopying data : [%d.%d %%]", i/10, i%10)
			time.Sleep(time.Second)
		}
	},
	"memory": func() {
		for {
			b, err := unix.Mmap(-1, 0, 8<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				exit(1, "out of memory")
			}
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
		}
	},
	"segv": func() {
		// Go would catch the signal. An all-zero struct sigaction of the kernel
		// restores the default action.
		var sa [4]uintptr
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&sa)), 0, 8, 0, 0)
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		hang()
	},
	"kill-parent": func() { syscall.Kill(os.Getppid(), syscall.SIGKILL) },
	"kill-all":    func() { syscall.Kill(-1, syscall.SIGKILL) },
	"signal-pid1": func() {
		// All signals except those for a fault in the program itself, which end
		// it for good.
		for s := syscall.SIGHUP; s <= 64; s++ {
			switch s {
			case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGSYS:
			default:
				syscall.Kill(1, s)
			}
		}
	},
	"fill-rootfs": func() {
		f, err := os.Create("/tmp/fill")
		for b := make([]byte, 1<<20); err == nil; {
			_, err = f.Write(b)
		}
		exit(1, "the root file system is full")
	},
	"readonly": func() {
		if err := unix.Mount("", "/mnt", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			say("remount read-only: %v", err)
		}
	},
	"crash": func() {
		os.WriteFile("/proc/sys/kernel/sysrq", []byte("1\n"), 0)
		os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	},
	"half-crash": func() { runHalf(); os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0) },
	"clock": func() {
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: 0}); err != nil {
			say("set the clock: %v", err)
		}
	},
	"unplug": func() {
		runHalf()
		// The disk of the target disappears from the bus during a dump.
		var st unix.Stat_t
		if err := unix.Stat("/mnt", &st); err != nil {
			say("stat /mnt: %v", err)
		}
		dev := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
		path, err := filepath.EvalSymlinks(dev)
		for ; err == nil && path != "/sys/devices"; path = filepath.Dir(path) {
			if os.WriteFile(path+"/remove", []byte("1"), 0) == nil {
				say("removed %s", path)
				break
			}
		}
	},
	"rename": func() { // an interrupted rename would leave this
		runHalf()
		os.Rename(output, strings.TrimSuffix(output, "-incomplete"))
		exit(1, "")
	},
}

func main() {
	conf, err := os.ReadFile(configFile)
	if err != nil {
		exit(1, err.Error())
	}
	name, first := strings.CutPrefix(strings.TrimSpace(string(conf)), "first ")
	if _, err := os.Stat(beganFile); err == nil && first {
		runReal()
	}
	os.WriteFile(beganFile, nil, 0o600)
	fault := faults[name]
	if fault == nil {
		exit(1, "unknown fault "+name)
	}
	say("%s", name)
	fault()
	runReal()
}

// say prints a line for the host on the console.
func say(format string, a ...any) {
	os.WriteFile("/dev/kmsg", fmt.Appendf(nil, "<2>badcollector: "+format+"\n", a...), 0)
}

func exit(status int, why string) {
	if why != "" {
		fmt.Fprintln(os.Stderr, "badcollector: "+why)
	}
	os.Exit(status)
}

func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

func write(b []byte) {
	if err := os.WriteFile(output, b, 0o600); err != nil {
		exit(1, err.Error())
	}
}

// removePages leaves the header of a dump and bitmaps without a page: the layout is in
// IMPLEMENTATION of makedumpfile's sources.
func removePages() {
	f, err := os.OpenFile(output, os.O_RDWR, 0)
	if err != nil {
		exit(1, err.Error())
	}
	defer f.Close()
	b := make([]byte, 464)
	if _, err := f.ReadAt(b, 0); err != nil {
		exit(1, err.Error())
	}
	le := binary.LittleEndian
	block := int64(le.Uint32(b[428:]))
	bitmap, size := block*(1+int64(le.Uint32(b[432:]))), block*int64(le.Uint32(b[436:]))
	f.Truncate(bitmap + size/2)
	f.Truncate(bitmap + size)
}

// runReal becomes the real makedumpfile.
func runReal() {
	real := realPath()
	exit(127, syscall.Exec(real, append([]string{real}, os.Args[1:]...), os.Environ()).Error())
}

func realPath() string { return os.Args[0] + realSuffix }

// runHalf runs the real makedumpfile and kills it in the middle of its output.
func runHalf() { run(512 << 10) }

// run runs the real makedumpfile to its end, or until its output has limit
// bytes.
func run(limit int64) {
	p, err := os.StartProcess(realPath(), append([]string{realPath()}, os.Args[1:]...), &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		exit(127, err.Error())
	}
	if limit > 0 {
		go func() {
			for {
				if fi, err := os.Stat(output); err == nil && fi.Size() >= limit {
					p.Kill()
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
	p.Wait()
}

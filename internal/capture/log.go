package capture

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLine bounds one message, in bytes: the kernel cuts a record written to
// /dev/kmsg at about 1000 (LOG_LINE_MAX, kernel/printk/printk.c).
const maxLine = 900

// logger writes to the kernel's log, which also takes it to every console, and
// directly to the console where there is no /dev/kmsg. Every method works on a
// logger that could open neither.
type logger struct {
	kmsg    int
	console int
}

// openLog never fails: with no device at all it discards.
func openLog() *logger {
	l := &logger{kmsg: -1, console: -1}
	if fd, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0); err == nil {
		l.kmsg = fd
	}
	// Not blocking: a serial line whose other end stopped reading must not
	// stop the dump.
	if fd, err := unix.Open("/dev/console", unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err == nil {
		l.console = fd
	}
	return l
}

// printf logs one message at level notice.
func (l *logger) printf(format string, a ...any) {
	l.write("<5>kdumpinit: ", fmt.Sprintf(format, a...))
}

// errorf logs one message at level error.
func (l *logger) errorf(format string, a ...any) {
	l.write("<3>kdumpinit: ", fmt.Sprintf(format, a...))
}

func (l *logger) write(prefix, msg string) {
	for line := range strings.SplitSeq(strings.TrimRight(msg, "\n"), "\n") {
		if len(line) > maxLine {
			line = line[:maxLine] + "…"
		}
		if l.kmsg >= 0 {
			if _, err := unix.Write(l.kmsg, []byte(prefix+line+"\n")); err == nil {
				continue
			}
		}
		l.show(prefix[len("<n>"):] + line)
	}
}

// show prints one line on the console only: progress would fill the kernel's
// log.
func (l *logger) show(line string) {
	if l.console >= 0 {
		unix.Write(l.console, []byte(line+"\r\n"))
	}
}

// readKernelLog returns this kernel's own log as syslog(2) formats it, cut to
// its last MiB.
func readKernelLog() ([]byte, error) {
	const max = 1 << 20
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	b := make([]byte, min(size, max))
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, b)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	return b[:n], nil
}

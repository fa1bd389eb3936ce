package capture

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLine bounds one message, in bytes: the kernel cuts a record written to
// /dev/kmsg at about 1000 (LOG_LINE_MAX, kernel/printk/printk.c).
const maxLine = 900

// Severities of syslog(3).
const (
	severityError  = 3
	severityNotice = 5
)

// logger writes to the kernel's log and to the console. Every method works on a
// logger that could open neither.
type logger struct {
	kmsg    int
	console int
	level   int // what is less severe than this the kernel keeps off the console
}

// openLog never fails: with no device at all it discards.
func openLog() *logger {
	l := &logger{kmsg: -1, console: -1, level: consoleLevel()}
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

// consoleLevel returns the kernel's console_loglevel, the first number of
// /proc/sys/kernel/printk (proc_sys_kernel(5)).
func consoleLevel() int {
	b, _ := os.ReadFile("/proc/sys/kernel/printk")
	f := strings.Fields(string(b))
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(f[0])
	return n
}

// printf logs one message.
func (l *logger) printf(format string, a ...any) {
	l.write(severityNotice, fmt.Sprintf(format, a...))
}

// errorf logs one message about something that went wrong.
func (l *logger) errorf(format string, a ...any) {
	l.write(severityError, fmt.Sprintf(format, a...))
}

// write writes each line of msg to the kernel's log. What the kernel would not
// show on the console for its severity is shown there directly: the person in
// front of it wants to know.
func (l *logger) write(severity int, msg string) {
	for line := range strings.SplitSeq(strings.TrimRight(msg, "\n"), "\n") {
		if len(line) > maxLine {
			line = line[:maxLine] + "…"
		}
		logged := false
		if l.kmsg >= 0 {
			_, err := unix.Write(l.kmsg, fmt.Appendf(nil, "<%d>kdumpinit: %s\n", severity, line))
			logged = err == nil
		}
		if !logged || severity >= l.level {
			l.show(fmt.Sprintf("[%12.6f] kdumpinit: %s", uptime().Seconds(), line))
		}
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

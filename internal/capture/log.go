package capture

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/evidence"
)

// maxLine bounds one message, in bytes: the kernel cuts a record written to
// /dev/kmsg at about 1000 (LOG_LINE_MAX, kernel/printk/printk.c).
const maxLine = 900

// Severities of syslog(3).
const (
	severityError  = evidence.SeverityError
	severityNotice = 5
	severityDebug  = 7
)

// logger writes to the kernel's log and to the console. Every method works even if
// neither could be opened.
type logger struct {
	kmsg    int
	console int
	level   int // the kernel prints severities below this number to the console
	budget  budget
}

// The kernel prints a message to a serial line character by character, in the context
// of the caller and without releasing the processor, the only one here. So each
// message stops all processes. The budget limits that to consoleBurst bytes at once
// and then consoleRate bytes a second. A line of 9600 baud takes 1000 bytes a second:
// the burst costs 4 seconds at worst, the rate a tenth of the time.
const (
	consoleBurst = 4 << 10
	consoleRate  = 100
)

// budget counts the bytes that the kernel had to print.
type budget struct {
	used float64
	last time.Duration
}

// take reports whether n more bytes may be printed at uptime now.
func (b *budget) take(n int, now time.Duration) bool {
	b.used = max(0, b.used-consoleRate*(now-b.last).Seconds())
	b.last = now
	if b.used+float64(n) > consoleBurst {
		return false
	}
	b.used += float64(n)
	return true
}

// openLog never fails: without any device the logger discards messages.
func openLog() *logger {
	l := &logger{kmsg: -1, console: -1, level: consoleLevel()}
	if fd, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0); err == nil {
		l.kmsg = fd
	}
	// Not blocking: a serial line that nobody reads must not stop the dump.
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

// errorf logs one error.
func (l *logger) errorf(format string, a ...any) {
	l.write(severityError, fmt.Sprintf(format, a...))
}

// write writes each line of msg to the kernel's log. If the kernel would not show the
// line on the console for its severity, write shows it there directly, for the person
// in front of it, and never waits: a slow console misses lines, the log does not.
func (l *logger) write(severity int, msg string) {
	for line := range strings.SplitSeq(strings.TrimRight(msg, "\n"), "\n") {
		if len(line) > maxLine {
			line = line[:maxLine] + "…"
		}
		severity := severity
		if severity < l.level && !l.budget.take(len(line), uptime()) {
			severity = severityDebug
		}
		logged := false
		if l.kmsg >= 0 {
			_, err := unix.Write(l.kmsg, fmt.Appendf(nil, "<%d>"+evidence.Prefix+"%s\n", severity, line))
			logged = err == nil
		}
		if !logged || severity >= l.level {
			l.show(fmt.Sprintf("[%12.6f] "+evidence.Prefix+"%s", uptime().Seconds(), line))
		}
	}
}

// show prints one line on the console only: progress would fill the kernel's log.
func (l *logger) show(line string) {
	if l.console >= 0 {
		unix.Write(l.console, []byte(line+"\r\n"))
	}
}

// readKernelLog returns the last MiB of the capture kernel's log, as syslog(2) formats
// it.
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

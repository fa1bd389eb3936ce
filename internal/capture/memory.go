package capture

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// MemAvailable returns MemAvailable of /proc/meminfo in bytes, see proc(5), or
// 0 if it cannot be read.
func MemAvailable() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	var buf [512]byte // MemAvailable is the third line
	n, _ := f.Read(buf[:])
	return parseMemAvailable(buf[:n])
}

func parseMemAvailable(b []byte) int64 {
	_, rest, ok := bytes.Cut(b, []byte("MemAvailable:"))
	if !ok {
		return 0
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// oomKills returns how many processes this kernel has killed for want of memory: oom_kill of
// /proc/vmstat, since Linux 4.13 (mm/vmstat.c). It is 0 if that is not known.
func oomKills() int64 {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	return parseOOMKills(b)
}

func parseOOMKills(b []byte) int64 {
	_, rest, _ := bytes.Cut(b, []byte("\noom_kill "))
	count, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseInt(string(count), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// uptime returns the time since this kernel's boot.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

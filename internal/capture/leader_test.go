package capture

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const leaderEnv = "UKDUMP_TEST_LEADER"

// init makes this program a process whose first thread ends while others go on,
// as a driver's oops leaves it.
func init() {
	if os.Getenv(leaderEnv) == "" {
		return
	}
	runtime.LockOSThread()
	go func() { time.Sleep(time.Minute) }()
	time.Sleep(100 * time.Millisecond)
	unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
}

func TestLeaderDead(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := start([]string{exe}, []string{leaderEnv + "=1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill(10 * time.Second)
	for end := uptime() + 20*time.Second; !p.leaderDead(); time.Sleep(10 * time.Millisecond) {
		if uptime() > end || p.ended {
			t.Fatalf("not seen: %s", p.how())
		}
	}
	if !p.kill(10 * time.Second) {
		t.Fatal("not killed")
	}
	if p.leaderDead() {
		t.Error("dead is not gone")
	}
}

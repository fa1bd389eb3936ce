package capture

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestIgnoreReserved(t *testing.T) {
	ignoreReserved()
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "SigIgn:")
	mask, err := strconv.ParseUint(strings.Fields(rest)[0], 16, 64)
	if want := uint64(7) << 31; err != nil || mask&want != want {
		t.Errorf("ignored: %#x, %v, not %#x", mask, err, want)
	}
}

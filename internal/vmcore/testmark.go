package vmcore

import "bytes"

// A crash of kdumpctl test has this in the log, and behind it the crash on request.
const (
	testMark    = "ukdump: test "
	testMarkEnd = ": crashing now"
)

// MaxTestToken is the length of the longest token, in bytes.
const MaxTestToken = 64

// TestMark returns the line that marks the crash of the test with that token, for
// /dev/kmsg. The token has letters and digits only.
func TestMark(token string) string { return testMark + token + testMarkEnd }

// FindTest returns the token of the test that a kernel log, of WriteLog or dmesg(1), ends
// with; "" if the kernel crashed for another reason, even if a test was about to begin.
func FindTest(log []byte) string {
	token, at := "", 0
	for off := 0; off < len(log); {
		line := lineAt(log, off)
		off += len(line) + 1
		if text, _ := message(line); bytes.HasPrefix(text, []byte(testMark)) {
			token, at = string(text[len(testMark):]), off
		}
	}
	n := len(token) - len(testMarkEnd)
	if n <= 0 || n > MaxTestToken || token[n:] != testMarkEnd {
		return ""
	}
	token = token[:n]
	for _, c := range []byte(token) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return ""
		}
	}
	// The log must go on with the crash on request: anything else crashed first.
	rest := log[min(at, len(log)):] // the last line may have no end
	p := FindPanic(rest)
	if p.Cause != "" || !bytes.Contains(rest, []byte(sysrqCrash+"\n")) {
		return ""
	}
	return token
}

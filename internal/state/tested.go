package state

import (
	"errors"
	"io/fs"
	"time"

	"ukdump/internal/crashdir"
)

// TestResult is the result of a test in one word.
type TestResult string

// The results of a test.
const (
	TestPending TestResult = "pending" // the machine has not come back yet
	TestPassed  TestResult = "passed"  // the dump was complete
	TestFailed  TestResult = "failed"
)

// Test is the last kdumpctl test of this machine, and the set that it was about.
type Test struct {
	Version  int        `json:"version"`
	Token    string     `json:"token"`
	Result   TestResult `json:"result"`
	Why      string     `json:"why,omitempty"` // it failed
	Time     time.Time  `json:"time"`          // it was asked for
	Boot     string     `json:"boot_id"`       // of that boot
	Keep     bool       `json:"keep,omitempty"`
	Running  string     `json:"running_release"` // kernel that crashed, as uname -r prints it
	Release  string     `json:"release"`         // of the capture kernel
	Image    string     `json:"image"`           // path of its initramfs
	KernelID string     `json:"kernel_sha256"`
	ImageID  string     `json:"image_sha256"`
	Cmdline  string     `json:"cmdline"`               // without the words of a forecast
	Keys     []string   `json:"volume_keys,omitempty"` // by their descriptions
	Seconds  float64    `json:"seconds,omitempty"`     // from the start of the capture kernel to the report
	LogOnly  bool       `json:"log_only,omitempty"`    // no vmcore was to be saved
	Bytes    int64      `json:"dump_bytes,omitempty"`  // of the vmcore
	Spare    int64      `json:"memory_to_spare,omitempty"`
}

const testedFile = "tested.json"

// NewTest returns a test of the loaded set.
func (st Store) NewTest(token string, keep bool, rec *LoadRecord) *Test {
	return &Test{
		Version: 1, Token: token, Result: TestPending, Time: time.Now().UTC().Round(time.Second), Boot: st.BootID(), Keep: keep,
		Running: st.Running(), Release: rec.Release, Image: rec.Image, KernelID: rec.KernelID, ImageID: rec.ImageID,
		Cmdline: rec.Bare(), Keys: rec.KeyDescriptions(),
	}
}

// Judge sets the result by the dump of the test.
func (t *Test) Judge(d *crashdir.Dump) {
	r := d.Report
	t.Bytes, t.Spare = r.Vmcore, r.LowestMem
	for _, s := range r.Steps {
		t.Seconds = max(t.Seconds, s.Start+s.Seconds)
	}
	t.Result, t.Why = TestPassed, ""
	if t.LogOnly = d.LogOnly; d.Saved() {
		return
	}
	t.Result, t.Why = TestFailed, "the dump is "+string(d.Outcome)
	if len(r.Errors) > 0 {
		t.Why += ": " + r.Errors[0]
	}
}

// SaveTest keeps a test for announce and status.
func (st Store) SaveTest(t *Test) error { return writeJSON(st.file(testedFile), t) }

// LastTest returns the last test, nil if there was none.
func (st Store) LastTest() (*Test, error) {
	t := new(Test)
	path := st.file(testedFile)
	err := readJSON(path, 1<<20, t)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = checkVersion(path, t.Version)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

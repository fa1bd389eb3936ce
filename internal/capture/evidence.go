package capture

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
	"ukdump/internal/vmcore"
)

const (
	// logTail is the size of the end of the crashed kernel's log that is searched for
	// the panic, in bytes. The log goes to disk without being held in memory.
	logTail = 256 << 10
	// consoleLines is the number of its last lines that the console shows.
	consoleLines = 20
)

// readLog decodes the crashed kernel's log, shows its end on the console and finds
// the cause of the crash.
func (w *worker) readLog() error {
	f, err := os.Open(vmcorePath)
	if os.IsNotExist(err) {
		return fmt.Errorf("%w: this kernel was not started by a crash: nothing to save", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	core, err := vmcore.Open(f)
	if err != nil {
		return err
	}
	w.report.Kernel = core.Info.Release()
	w.report.Memory = core.Size()
	if sec := core.Info.CrashTime(); sec > 0 {
		w.report.CrashTime = crashdir.Clamp(time.Unix(sec, 0).UTC())
	}
	t := &tail{max: logTail}
	err = core.WriteLog(t)
	text := t.bytes()
	p := vmcore.FindPanic(text)
	w.report.Test = vmcore.FindTest(text)
	w.report.Panic = crashdir.Panic{Line: p.Line, Cause: p.Cause, IP: p.Instruction, Trace: p.Trace}
	w.log.printf("the last messages of the kernel that crashed, %s:", w.report.Kernel)
	for _, line := range lastLines(text, consoleLines) {
		w.log.show("| " + evidence.Printable(string(line)))
	}
	return err
}

// lastLines returns the last n lines of text.
func lastLines(text []byte, n int) [][]byte {
	text = bytes.TrimRight(text, "\n")
	start := len(text)
	for ; n > 0 && start >= 0; n-- {
		start = bytes.LastIndexByte(text[:start], '\n')
	}
	return bytes.Split(text[start+1:], []byte("\n"))
}

// writeLog writes vmcore-dmesg.txt.
func (w *worker) writeLog() error {
	return w.place.writeFile(crashdir.Dmesg, func(out io.Writer) error {
		f, err := os.Open(vmcorePath)
		if err != nil {
			return err
		}
		defer f.Close()
		core, err := vmcore.Open(f)
		if err != nil {
			return err
		}
		return core.WriteLog(out)
	})
}

// writeCaptureLog writes kexec-dmesg.log.
func (w *worker) writeCaptureLog() error {
	return w.place.writeFile(crashdir.CaptureLog, func(out io.Writer) error {
		b, err := readKernelLog()
		if err == nil {
			_, err = out.Write(b)
		}
		return err
	})
}

// writeReport writes report.json as it stands.
func (w *worker) writeReport() error {
	w.sample()
	w.report.OOMKills = oomKills()
	if n := len(w.report.Steps); n > 0 { // the running step
		s := &w.report.Steps[n-1]
		s.Seconds = since(s.Start)
	}
	return w.place.writeFile(crashdir.ReportFile, func(out io.Writer) error {
		b, err := w.report.Encode()
		if err == nil {
			_, err = out.Write(b)
		}
		return err
	})
}

// settle derives the outcome from the files that are at the target. If the target
// cannot be read, only a certain outcome counts.
func (w *worker) settle() {
	outcome, size, err := w.place.settle()
	if err != nil {
		w.fail("read back the dump: %v", err)
	}
	if outcome == "" {
		outcome = w.state.saved("")
	}
	w.report.Outcome, w.report.Vmcore = outcome, size
}

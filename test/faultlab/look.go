package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
	"ukdump/test/faultlab/found"
)

// look writes the contents of the directories of dumps to a file for the host, as a
// found.Found. mark is the line that was printed before the crash.
func look(name, mark string, dirs []string) error {
	var all found.Found
	for _, dir := range dirs {
		dumps, err := crashdir.List(dir)
		if err != nil {
			all.Errors = append(all.Errors, err.Error())
			continue
		}
		for _, d := range dumps {
			all.Dumps = append(all.Dumps, examine(dir, d, []byte(mark)))
		}
	}
	b, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

func examine(dir string, d crashdir.Dump, mark []byte) found.Dump {
	f := found.Dump{Dir: dir, Name: d.Name, Outcome: d.Outcome, Report: d.Report, Files: make(map[string]int64)}
	if d.ReportErr != nil {
		f.ReportErr = d.ReportErr.Error()
	}
	sum := sha256.New()
	ents, _ := os.ReadDir(d.Path)
	for _, e := range ents {
		r, err := os.Open(filepath.Join(d.Path, e.Name()))
		if err != nil {
			continue
		}
		io.WriteString(sum, e.Name()+"\n")
		n, err := io.Copy(sum, r)
		r.Close()
		if err != nil {
			io.WriteString(sum, err.Error())
			n = -1
		}
		f.Files[e.Name()] = n
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	for _, name := range []string{crashdir.Dmesg, crashdir.Dmesg + crashdir.Suffix} {
		if b, err := os.ReadFile(filepath.Join(d.Path, name)); err == nil && bytes.Contains(b, mark) {
			f.Dmesg = name
			break
		}
	}
	if d.Outcome != crashdir.Complete {
		return f
	}
	h, err := dumpfile.VerifyFile(d.Vmcore)
	if err != nil {
		f.VmcoreErr = err.Error()
	}
	f.Format = h.Format
	f.MakedumpfileErr = readDump(d.Vmcore, mark, &f.MakedumpfileMark)
	return f
}

// readDump looks for mark in the kernel's log that makedumpfile reads from a
// vmcore. For that makedumpfile has to follow page tables and structures.
func readDump(core string, mark []byte, has *bool) string {
	log := "/tmp/faultlab-dmesg"
	os.Remove(log)
	out, err := exec.Command("makedumpfile", "--dump-dmesg", core, log).CombinedOutput()
	if err != nil {
		return err.Error() + ": " + string(out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	*has = bytes.Contains(b, mark)
	return ""
}

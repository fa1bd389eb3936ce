package crashdir

import (
	"path/filepath"
	"testing"
)

func TestSealed(t *testing.T) {
	const complete, logOnly = `{"version":1,"outcome":"complete"}`, `{"version":1,"outcome":"dmesg-only","log_only":true}`
	for _, tt := range []struct {
		name    string
		files   map[string]string
		outcome Outcome
		vmcore  string // its name
		sealed  bool
		logOnly bool
	}{
		{"encrypted dump", map[string]string{Vmcore + Sealed: "x", Dmesg + Sealed: "x", ReportFile: complete}, Complete, "vmcore.age", true, false},
		{"encrypted without a report", map[string]string{Vmcore + Sealed: "x"}, Complete, "vmcore.age", true, false},
		{"not whole", map[string]string{Vmcore + Sealed + Suffix: "x", Dmesg + Sealed: "x"}, Incomplete, "vmcore.age-incomplete", true, false},
		{"empty file", map[string]string{Vmcore + Sealed: "", Dmesg + Sealed: "x"}, DmesgOnly, "", false, false},
		{"decrypted", map[string]string{Vmcore + Sealed: "x", Vmcore: "x"}, Complete, "vmcore", false, false},
		{"being decrypted", map[string]string{Vmcore + Sealed: "x", Vmcore + Suffix: "x"}, Complete, "vmcore.age", true, false},
		{"a part that is not encrypted", map[string]string{Vmcore + Sealed + Suffix: "x", Vmcore + Suffix: "x"}, Incomplete, "vmcore-incomplete", false, false},
		{"encrypted log", map[string]string{Dmesg + Sealed: "x", ReportFile: logOnly}, DmesgOnly, "", false, true},
		{"part of an encrypted log", map[string]string{Dmesg + Sealed + Suffix: "x", ReportFile: logOnly}, DmesgOnly, "", false, false},
		{"part of a log beside a vmcore", map[string]string{Dmesg + Suffix: "x", Vmcore + Sealed: "x", ReportFile: logOnly}, Complete, "vmcore.age", true, false},
		{"encrypted report alone", map[string]string{ReportFile + Sealed: "x"}, Failed, "", false, false},
		{"suffix in the wrong place", map[string]string{"vmcore-incomplete.age": "x", "vm.agecore": "x"}, Failed, "", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			put(t, parent, "2026-11-22T23-04-05Z", tt.files)
			d, err := Read(filepath.Join(parent, "2026-11-22T23-04-05Z"))
			if err != nil {
				t.Fatal(err)
			}
			vmcore := ""
			if d.Vmcore != "" {
				vmcore = filepath.Base(d.Vmcore)
			}
			if d.Outcome != tt.outcome || vmcore != tt.vmcore || d.Sealed() != tt.sealed || d.LogOnly != tt.logOnly {
				t.Errorf("%s, vmcore %q, encrypted %v, log only %v\nwant %s, %q, %v, %v", d.Outcome, vmcore, d.Sealed(), d.LogOnly, tt.outcome, tt.vmcore, tt.sealed, tt.logOnly)
			}
		})
	}
}

// Package found is the format in which faultlab reports the dumps of a machine
// to the host.
package found

import (
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
)

// Found is the contents of the directories of dumps.
type Found struct {
	Errors []string // directories that could not be read
	Dumps  []Dump
}

// Dump is one dump.
type Dump struct {
	Dir, Name string
	Outcome   crashdir.Outcome // according to its files
	Files     map[string]int64 // name to bytes, -1 if it could not be read to its end
	SHA256    string           // of the names and contents of all files
	Report    *crashdir.Report
	ReportErr string
	Dmesg     string // the file with the mark of this crash

	// For a dump that is called complete.
	Format           dumpfile.Format
	VmcoreErr        string // the error of dumpfile.VerifyFile, "" if the vmcore is whole
	MakedumpfileErr  string // the error of makedumpfile --dump-dmesg
	MakedumpfileMark bool   // makedumpfile found the mark of this crash in it
}

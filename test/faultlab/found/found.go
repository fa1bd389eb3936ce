// Package found is what faultlab tells the host about the dumps of a machine.
package found

import (
	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
)

// Found is everything in the directories that were looked at.
type Found struct {
	Errors []string // directories that could not be read
	Dumps  []Dump
}

// Dump is one dump.
type Dump struct {
	Dir, Name string
	Outcome   crashdir.Outcome // what its files say
	Files     map[string]int64 // name to bytes, -1 if it could not be read to its end
	SHA256    string           // of the names and contents of all files
	Report    *crashdir.Report
	ReportErr string
	Dmesg     string // the file that has the mark of this crash

	// For a dump that is called complete.
	Format           dumpfile.Format
	VmcoreErr        string // what dumpfile.VerifyFile says, "" if it is whole
	MakedumpfileErr  string // likewise makedumpfile --dump-dmesg
	MakedumpfileMark bool   // makedumpfile found the mark of this crash in it
}

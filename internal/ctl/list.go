package ctl

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/evidence"
	"ukdump/internal/report"
	"ukdump/internal/unseal"
)

// dumpJSON is one dump as list --json and info --json print it.
type dumpJSON struct {
	Name    string           `json:"name"`
	Path    string           `json:"path"`
	Time    time.Time        `json:"time"`
	Outcome crashdir.Outcome `json:"outcome"`
	Test    bool             `json:"test,omitempty"` // the crash was one of kdumpctl test
	// Imported is true for a dump of kdumpctl import.
	Imported bool   `json:"imported,omitempty"`
	Vmcore   string `json:"vmcore,omitempty"`
	// Recipients is the number of keys that the vmcore is encrypted to.
	Recipients int              `json:"recipients,omitempty"`
	Bytes      *int64           `json:"bytes,omitempty"`  // of all files; nil if they cannot be read
	Reason     string           `json:"reason,omitempty"` // of the crash, from any file that has it
	Problem    string           `json:"problem,omitempty"`
	Report     *crashdir.Report `json:"report,omitempty"`
	// Fingerprint is that of the report which kdumpctl report keeps, nil without one.
	Fingerprint *report.Fingerprint `json:"fingerprint,omitempty"`

	outcome, reason string // for people
}

func jsonOf(d crashdir.Dump) dumpJSON {
	l := dumpJSON{Name: d.Name, Path: d.Path, Time: d.Time, Outcome: d.Outcome, Test: d.Test, Imported: imported(&d), Vmcore: d.Vmcore, Report: d.Report}
	if d.Outcome != crashdir.Unknown {
		l.Bytes = &d.Size
	}
	if d.Sealed() {
		info, _ := unseal.OfDump(&d) // the error comes where the file is needed
		l.Recipients = info.Recipients
	}
	l.Fingerprint = fingerprintOf(&d)
	why := evidence.OfDump(&d)
	l.Reason = why.Panic.Reason()
	l.outcome, l.reason = outcomeOf(&d), reasonOf(why)
	if d.ReportErr != nil {
		l.Problem = d.ReportErr.Error()
	}
	return l
}

// dumpOptions are those of the verbs that read dumps.
type dumpOptions struct {
	dir      string
	json     bool
	identity string // file of private keys
}

func (o *dumpOptions) addDir(f *pflag.FlagSet) {
	f.StringVar(&o.dir, "dir", "", "`DIRECTORY` look here for dumps (default: all that are configured)")
}

// addJSON adds both options; of is the help of --json.
func (o *dumpOptions) addJSON(f *pflag.FlagSet, of string) {
	f.BoolVar(&o.json, "json", false, of)
	o.addDir(f)
}

func (c *ctl) listVerb() *cli.Command {
	var o dumpOptions
	var group bool
	return &cli.Command{
		Name: "list", Summary: "list the dumps",
		About: `Lists the dumps, oldest first: name, size, outcome, kernel and reason of the crash. Lines
are cut to the width of the terminal, or to 120 characters. On a narrow terminal the
kernel and the size give way to the reason.`,
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&group, "group", false, "count the dumps by the fingerprint of the crash")
			o.addJSON(f, "print a JSON array, with nothing cut")
		},
		Run: func([]string) error {
			if group {
				return c.groups(o)
			}
			return c.list(o)
		},
	}
}

func (c *ctl) list(o dumpOptions) error {
	dumps, parent, unread := c.scanImported(o.dir)
	if unread != nil && len(dumps.Dumps) == 0 {
		return unread
	}
	c.warnLeftOut(dumps)
	if o.json {
		list := []dumpJSON{} // never null
		for _, d := range dumps.Dumps {
			list = append(list, jsonOf(d))
		}
		if err := cli.WriteJSON(c.Stdout, list); err != nil {
			return err
		}
		return unread
	}
	if len(dumps.Dumps) == 0 {
		fmt.Fprintf(c.Stdout, "No dumps in %s.\n", parent)
		return nil
	}
	var table [][nColumns]string
	for i := range dumps.Dumps {
		table = append(table, listRow(&dumps.Dumps[i]))
	}
	for _, line := range listTable(table, cmp.Or(c.terminalWidth(), pipeWidth)) {
		if _, err := fmt.Fprintln(c.Stdout, line); err != nil {
			return err
		}
	}
	return unread
}

// warnLeftOut names the directories that are not counted as dumps.
func (c *ctl) warnLeftOut(dumps crashdir.Contents) {
	for _, err := range dumps.LeftOut {
		c.Warn("left out: " + err.Error())
	}
	if more := dumps.NLeftOut - len(dumps.LeftOut); more > 0 {
		c.Warn(fmt.Sprintf("left out: %d more directories", more))
	}
}

// dumps lists the dumps as scanImported does.
func (c *ctl) dumps(dir string) (dumps []crashdir.Dump, where string, err error) {
	all, where, err := c.scanImported(dir)
	return all.Dumps, where, err
}

// scanImported is scan, and lists imported dumps, too, if dir is empty.
func (c *ctl) scanImported(dir string) (all crashdir.Contents, where string, err error) {
	all, where, err = c.scan(dir)
	conf, bad := c.config()
	if dir != "" || bad != nil {
		return all, where, err
	}
	errs := []error{err}
	for _, d := range conf.DumpDirs(c.root) {
		from, err := importedIn(d)
		if err != nil {
			all.LeftOut = append(all.LeftOut, err)
			all.NLeftOut++
			continue
		}
		if fi, err := os.Stat(from); err != nil || !fi.IsDir() {
			continue // nothing was imported, or scan has reported the directory above
		}
		errs = append(errs, scanInto(&all, from))
	}
	crashdir.Sort(all.Dumps)
	return all, where, errors.Join(errs...)
}

// scanInto adds the dumps in a directory to others.
func scanInto(all *crashdir.Contents, dir string) error {
	here, err := crashdir.Scan(dir)
	all.Dumps = append(all.Dumps, here.Dumps...)
	all.LeftOut = append(all.LeftOut, here.LeftOut...)
	all.NLeftOut += here.NLeftOut
	return err
}

// scan lists the dumps in dir, or in the configured targets if dir is empty,
// and says where it looked. A configured target that does not exist yet holds no
// dumps; dir must exist. With an error there are those of the directories that can
// be read.
func (c *ctl) scan(dir string) (all crashdir.Contents, where string, err error) {
	dirs := []string{dir}
	if dir != "" {
		if _, err := os.Stat(dir); err != nil {
			return all, "", err
		}
	} else {
		conf, err := c.config()
		if err != nil {
			return all, "", err
		}
		dirs = conf.DumpDirs(c.root)
	}
	var errs []error
	for _, d := range dirs {
		errs = append(errs, scanInto(&all, d))
	}
	crashdir.Sort(all.Dumps)
	return all, strings.Join(dirs, " or "), errors.Join(errs...)
}

// dumpNames returns the names of the dumps, for completion.
func (c *ctl) dumpNames(o *dumpOptions) func() []string {
	return func() (names []string) {
		dumps, _, _ := c.dumps(o.dir)
		for _, d := range dumps {
			names = append(names, d.Name)
		}
		return names
	}
}

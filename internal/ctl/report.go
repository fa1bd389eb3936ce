package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/dump"
	"ukdump/internal/plan"
	"ukdump/internal/report"
	"ukdump/internal/unseal"
)

const aboutReport = `Reports why a kernel crashed, from the memory in the vmcore alone: cause, stacks of all CPUs
and of blocked tasks, memory, mounts, disks with requests in flight, the end of the log, and
a fingerprint that groups crashes with the same cause. No debug symbols are needed.

DUMP is a name as for info, FILE is any vmcore. The default is the newest dump. The report
of a dump is also kept beside its vmcore, as report.txt and crash.json, but not if the dump
is encrypted.`

// reportOptions are the options of report.
type reportOptions struct {
	dumpOptions
	output  string
	html    bool
	missing bool
}

func (c *ctl) reportVerb() *cli.Command {
	var o reportOptions
	return &cli.Command{
		Name: "report", Summary: "report why a kernel crashed, from its memory", About: aboutReport,
		Options: func(f *pflag.FlagSet) {
			f.StringVar(&o.output, "output", "", "`FILE` write the report to this file, - for the standard output")
			f.BoolVar(&o.missing, "missing", false, "make the reports of all dumps that have none, and print a line for each")
			f.BoolVar(&o.html, "html", false, "print the report as a page for a browser")
			o.addIdentity(f)
			o.addJSON(f, "print the report as JSON")
		},
		Args: "[DUMP | FILE]", Max: 1, Values: c.dumpNames(&o.dumpOptions), Files: true,
		Run: func(args []string) error {
			switch {
			case o.html && o.json:
				return cli.Usage(errors.New("--html and --json exclude each other"))
			case !o.missing:
				return c.report(o, strings.Join(args, ""))
			case len(args) > 0 || o.output != "" || o.html || o.json || o.identity != "":
				return cli.Usage(errors.New("--missing takes no dump, and none of --html, --json, --output and --identity"))
			}
			return c.missingReports(o.dir)
		},
	}
}

func (c *ctl) report(o reportOptions, name string) error {
	ids, err := o.identities()
	if err != nil {
		return err
	}
	r, err := c.makeReport(o.dir, name, ids)
	if err != nil {
		return err
	}
	write := r.WriteText
	switch {
	case o.html:
		write = r.WriteHTML
	case o.json:
		write = func(w io.Writer) error { return cli.WriteJSON(w, r) }
	}
	if o.output == "" || o.output == cli.StandardOutput {
		return write(c.Stdout)
	}
	return replaceFile(o.output, 0o600, write)
}

// makeReport makes the report of the dump or file that name stands for. That of a dump is kept,
// unless it was decrypted for it.
func (c *ctl) makeReport(dir, name string, ids *unseal.Identities) (*report.Report, error) {
	d, file, err := c.dumpOrFile(dir, name)
	if err != nil {
		return nil, err
	}
	if file != "" {
		d, err := openDump(file, ids)
		if err != nil {
			return nil, advise(err)
		}
		defer d.Close()
		r := report.Make(context.Background(), d, report.Options{Software: plan.Software})
		return r, understood(file, r)
	}
	r, err := c.reportOf(&d, ids)
	if r != nil && r.Empty() && d.Vmcore == "" {
		return nil, advice.With(fmt.Errorf("dump %s: neither a vmcore nor a log of the crash in it", d.Name), "kdumpctl info "+d.Name+" shows why.")
	}
	if err != nil || ids != nil && hasSealed(&d) {
		return r, err
	}
	if err := keepReport(d, r); err != nil {
		c.Warn(fmt.Sprintf("save the report: %v", err))
	}
	return r, nil
}

// advise adds advice to an error about a file that cannot be opened as a dump, if it has none.
func advise(err error) error {
	if advice.For(err) != "" {
		return err
	}
	return advice.With(err, "Give a vmcore of kdumpctl or makedumpfile, or a dump of virsh dump --memory-only.")
}

// reportOf makes the report of a dump: from the vmcore or, if that cannot be read, from the log
// beside it.
func (c *ctl) reportOf(d *crashdir.Dump, ids *unseal.Identities) (*report.Report, error) {
	o := report.Options{Software: plan.Software, Log: func() (io.ReadCloser, error) { return openText(d, ids) }}
	var r *report.Report
	switch core, err := openVmcore(d, ids); {
	case err != nil:
		var sealed *sealedError
		if r = report.FromLog(o, err); r.Empty() && errors.As(err, &sealed) {
			return nil, err
		}
	default:
		defer core.Close()
		r = report.Make(context.Background(), core, o)
	}
	return r, understood("dump "+d.Name, r)
}

// openVmcore opens the vmcore of a dump.
func openVmcore(d *crashdir.Dump, ids *unseal.Identities) (*dump.Dump, error) {
	if d.Vmcore == "" {
		return nil, errors.New("the dump has none")
	}
	return openDump(d.Vmcore, ids)
}

// understood returns an error if a report has nothing.
func understood(object string, r *report.Report) error {
	if !r.Empty() {
		return nil
	}
	err := fmt.Errorf("%s: no part is understood", object)
	if len(r.Problems) > 0 {
		err = fmt.Errorf("%w: %s: %s", err, r.Problems[0].Part, r.Problems[0].Reason)
	}
	return advice.With(err, "kdumpctl debug opens a dump with the debug symbols of its kernel.")
}

// The files in which the report of a dump is kept.
const (
	reportText = "report.txt"
	reportJSON = "crash.json"
)

// keepReport writes the report into the directory of its dump. crash.json is the last, as it
// marks a dump that has a report.
func keepReport(d crashdir.Dump, r *report.Report) error {
	dir, err := crashdir.OpenFolder(d)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.WriteFile(reportText, r.WriteText); err != nil {
		return err
	}
	return dir.WriteFile(reportJSON, func(w io.Writer) error { return cli.WriteJSON(w, r) })
}

// missingLimit is the time after which missingReports begins no other report: the unit would
// end as failed.
const missingLimit = 10 * time.Minute

// missingReports makes the reports of the dumps that have none, the newest first. It prints a
// line for each, which ukdump-report.service writes to the journal.
func (c *ctl) missingReports(dir string) error {
	dumps, _, err := c.dumps(dir)
	errs := []error{err}
	begun := time.Now()
	for _, d := range slices.Backward(dumps) {
		if time.Since(begun) > missingLimit {
			c.Warn("older dumps have to wait for the next run: reports have taken " + missingLimit.String())
			break
		}
		if d.Outcome == crashdir.Unknown || d.Outcome == crashdir.Failed || hasReport(&d) || hasSealed(&d) && !hasText(&d) {
			continue
		}
		r, err := c.reportOf(&d, nil)
		if err == nil {
			err = keepReport(d, r)
		}
		if err != nil {
			c.Warn(fmt.Sprintf("report of %s: %v", d.Name, err))
			continue
		}
		c.Say("report of %s: %s", d.Name, cli.Text(r.Summary(), cli.MaxText))
	}
	return errors.Join(errs...)
}

// hasReport reports whether the report of a dump was kept.
func hasReport(d *crashdir.Dump) bool {
	f, err := d.Open(reportJSON)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// fingerprintOf returns the fingerprint in the report of a dump, nil if there is none.
func fingerprintOf(d *crashdir.Dump) *report.Fingerprint {
	f, err := d.Open(reportJSON)
	if err != nil {
		return nil
	}
	defer f.Close()
	print, err := report.ReadFingerprint(f)
	if err != nil {
		return nil
	}
	return print
}

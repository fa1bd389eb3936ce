package ctl

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/kmsg"
	"ukdump/internal/unseal"
	"ukdump/internal/vmcore"
)

const aboutLog = `Prints the kernel log of a crash, from the memory in the vmcore, or else from the text that
was saved beside it. Only the vmcore knows the levels.

DUMP is a name as for info, FILE is any vmcore. The default is the newest dump.`

// logOptions are the options of log.
type logOptions struct {
	dumpOptions
	level string
	clock bool
}

func (c *ctl) logVerb() *cli.Command {
	var o logOptions
	return &cli.Command{
		Name: "log", Summary: "print the kernel log of a crash", About: aboutLog,
		Options: func(f *pflag.FlagSet) {
			f.StringVar(&o.level, "level", "", "`LIST` only records of these levels, as in dmesg(1): err,warn or warn+")
			f.BoolVar(&o.clock, "time", false, "print the time of day")
			o.addIdentity(f)
			o.addDir(f)
		},
		Args: "[DUMP | FILE]", Max: 1, Values: c.dumpNames(&o.dumpOptions), Files: true,
		Run: func(args []string) error { return c.log(o, strings.Join(args, "")) },
	}
}

// logSource is a kernel log that can be read more than once.
type logSource struct {
	read  func(each func(vmcore.Record)) error
	crash time.Time // by the clock of the crashed kernel, zero if not known
	close func() error

	// What survey has found.
	records, unknown int // number of records, and of those without a level
	last             uint64
}

func (c *ctl) log(o logOptions, name string) error {
	levels, err := parseLevels(o.level)
	if err != nil {
		return cli.Usage(err)
	}
	ids, err := o.identities()
	if err != nil {
		return err
	}
	src, err := c.openLog(o.dir, name, ids)
	if err != nil {
		return err
	}
	defer src.close()
	if levels != nil && src.unknown > 0 {
		c.Warn("levels are not known, so all records are printed: the text beside a vmcore has none")
	}
	p := logPrinter{w: bufio.NewWriter(c.Stdout), levels: levels, colour: c.colour()}
	switch {
	case o.clock && (src.crash.IsZero() || src.records == 0):
		c.Warn("the time of the crash is not known: times are seconds since the start of the kernel")
	case o.clock:
		p.start = src.crash.Add(-time.Duration(min(src.last, 1<<62)))
	}
	err = src.read(p.print)
	return errors.Join(err, p.w.Flush())
}

// colour reports whether the output may have colours (https://no-color.org).
func (c *ctl) colour() bool {
	f, ok := c.Stdout.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && cli.IsTerminal(f)
}

// openLog opens the log that name stands for.
func (c *ctl) openLog(dir, name string, ids *unseal.Identities) (*logSource, error) {
	d, file, err := c.dumpOrFile(dir, name)
	if err != nil {
		return nil, err
	}
	if file != "" {
		src, err := logOfVmcore(file, ids)
		if err != nil {
			return nil, advise(err)
		}
		src.survey() // the error comes again when it is printed
		return src, nil
	}
	if d.Vmcore != "" && (ids != nil || !d.Sealed()) {
		src, err := logOfVmcore(d.Vmcore, ids)
		if err == nil {
			if err = src.survey(); err == nil {
				return src, nil
			}
			src.close()
		}
		c.Warn(err.Error())
	}
	return logOfText(d, ids)
}

// logOfVmcore opens the log in the memory of a dump.
func logOfVmcore(path string, ids *unseal.Identities) (*logSource, error) {
	d, err := openDump(path, ids)
	if err != nil {
		return nil, err
	}
	src := &logSource{close: d.Close, read: func(each func(vmcore.Record)) error {
		if err := kmsg.Read(d, each); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}}
	if t := d.Info().CrashTime(); t > 0 {
		src.crash = crashdir.Clamp(time.Unix(t, 0))
	}
	return src, nil
}

// logOfText opens the log that was saved as text.
func logOfText(d crashdir.Dump, ids *unseal.Identities) (*logSource, error) {
	f, err := openText(&d, ids)
	if errors.Is(err, os.ErrNotExist) {
		return nil, advice.With(fmt.Errorf("dump %s: no log in it", d.Name), "kdumpctl info "+d.Name+" shows why.")
	}
	if err != nil {
		return nil, err
	}
	src := &logSource{close: f.Close, read: func(each func(vmcore.Record)) error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return kmsg.ReadText(f, each)
	}}
	if d.Report != nil {
		src.crash = d.Report.CrashTime
	}
	if err := src.survey(); err != nil || src.records > 0 {
		return src, err
	}
	f.Close()
	return nil, advice.With(fmt.Errorf("dump %s: the log in it is empty", d.Name), "kdumpctl info "+d.Name+" shows why.")
}

// openText opens the log that was saved beside a vmcore, whole or not.
func openText(d *crashdir.Dump, ids *unseal.Identities) (io.ReadSeekCloser, error) {
	for _, name := range []string{crashdir.Dmesg, crashdir.Dmesg + crashdir.Sealed, crashdir.Dmesg + crashdir.Suffix} {
		f, err := d.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		text, err := openContent(f, ids)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		return text, nil
	}
	return nil, os.ErrNotExist
}

// survey reads the log once.
func (s *logSource) survey() error {
	return s.read(func(r vmcore.Record) {
		s.records++
		s.last = r.Time
		if r.Level < 0 {
			s.unknown++
		}
	})
}

// levelNames are the severities of syslog(3), as dmesg(1) names them.
var levelNames = []string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"}

// parseLevels parses a list of levels; "+" behind one adds all that are more severe.
func parseLevels(list string) (map[int]bool, error) {
	if list == "" {
		return nil, nil
	}
	levels := map[int]bool{}
	for word := range strings.SplitSeq(list, ",") {
		name, more := strings.CutSuffix(word, "+")
		i := slices.Index(levelNames, name)
		if i < 0 {
			return nil, fmt.Errorf("unknown level %q: the levels are %s", word, strings.Join(levelNames, ", "))
		}
		levels[i] = true
		for j := 0; more && j < i; j++ {
			levels[j] = true
		}
	}
	return levels, nil
}

// logPrinter prints records.
type logPrinter struct {
	w      *bufio.Writer
	levels map[int]bool // nil for all
	start  time.Time    // of the kernel, zero for times in seconds
	colour bool
}

// Select Graphic Rendition (console_codes(4)).
const (
	colourTime  = "\x1b[32m"   // green
	colourCrit  = "\x1b[1;31m" // bold red
	colourErr   = "\x1b[31m"   // red
	colourWarn  = "\x1b[33m"   // brown
	colourReset = "\x1b[0m"
)

// print prints the lines of one record.
func (p *logPrinter) print(r vmcore.Record) {
	if p.levels != nil && r.Level >= 0 && !p.levels[r.Level] {
		return
	}
	stamp := fmt.Sprintf("[%5d.%06d]", r.Time/1e9, r.Time%1e9/1e3)
	if !p.start.IsZero() {
		// CRASHTIME has no fraction of a second.
		stamp = "[" + p.start.Add(time.Duration(min(r.Time, 1<<62))).Local().Format(time.RFC3339) + "]"
	}
	on, off := "", ""
	if p.colour {
		stamp = colourTime + stamp + colourReset
		switch {
		case r.Level < 0 || r.Level > 4:
		case r.Level <= 2:
			on, off = colourCrit, colourReset
		case r.Level == 3:
			on, off = colourErr, colourReset
		default:
			on, off = colourWarn, colourReset
		}
	}
	for line := range bytes.SplitSeq(r.Text, []byte("\n")) {
		p.w.WriteString(stamp + " " + on + kmsg.Escape(line) + off + "\n")
	}
}

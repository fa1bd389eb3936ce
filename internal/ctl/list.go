package ctl

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
)

// pipeWidth is the width of a list that does not go to a terminal.
const pipeWidth = 120

// dumpJSON is one dump as list --json and info --json print it.
type dumpJSON struct {
	Name    string           `json:"name"`
	Path    string           `json:"path"`
	Time    time.Time        `json:"time"`
	Outcome crashdir.Outcome `json:"outcome"`
	Vmcore  string           `json:"vmcore,omitempty"`
	Bytes   *int64           `json:"bytes,omitempty"` // of all files; nil if they cannot be read
	Problem string           `json:"problem,omitempty"`
	Report  *crashdir.Report `json:"report,omitempty"`
}

func jsonOf(d crashdir.Dump) dumpJSON {
	l := dumpJSON{Name: d.Name, Path: d.Path, Time: d.Time, Outcome: d.Outcome, Vmcore: d.Vmcore, Report: d.Report}
	if d.Outcome != crashdir.Unknown {
		l.Bytes = &d.Size
	}
	if d.ReportErr != nil {
		l.Problem = d.ReportErr.Error()
	}
	return l
}

// dumpOptions are those of the verbs that read dumps.
type dumpOptions struct {
	dir  string
	json bool
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
	return &cli.Command{
		Name: "list", Summary: "list the dumps",
		About: `Lists the dumps, oldest first: name, size, outcome, kernel and panic line. Lines are
cut to the width of the terminal, or to 120 characters.`,
		Options: func(f *pflag.FlagSet) { o.addJSON(f, "print a JSON array, with nothing cut") },
		Run:     func([]string) error { return c.list(o) },
	}
}

func (c *ctl) list(o dumpOptions) error {
	dumps, parent, unread := c.dumps(o.dir)
	if unread != nil && len(dumps) == 0 {
		return unread
	}
	if o.json {
		list := []dumpJSON{} // never null
		for _, d := range dumps {
			list = append(list, jsonOf(d))
		}
		if err := cli.WriteJSON(c.Stdout, list); err != nil {
			return err
		}
		return unread
	}
	if len(dumps) == 0 {
		fmt.Fprintf(c.Stdout, "No dumps in %s.\n", parent)
		return nil
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DUMP\tSIZE\tOUTCOME\tKERNEL\tPANIC")
	for _, d := range dumps {
		kernel, reason := "-", "-"
		if d.Report != nil {
			// Distributions' releases are shorter than that.
			kernel, reason = cli.OrDash(cli.Text(d.Report.Kernel, 40)), cli.OrDash(cli.Text(d.Report.Panic.Reason(), cli.MaxText))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.Name, sizeOf(d), outcomeOf(d), kernel, reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	width := c.width()
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(c.Stdout, cli.Text(line, width)); err != nil {
			return err
		}
	}
	return unread
}

// outcomeOf returns the outcome of a dump for people.
func outcomeOf(d crashdir.Dump) string {
	if d.Outcome == crashdir.Unknown {
		return notKnown
	}
	return string(d.Outcome)
}

// sizeOf returns the size of a dump for people.
func sizeOf(d crashdir.Dump) string {
	if d.Outcome == crashdir.Unknown {
		return "-"
	}
	return cli.Size(d.Size)
}

// notKnown is printed for what the caller may not read.
const notKnown = "not known"

// width returns how many characters a line of Stdout should have at most.
func (c *ctl) width() int {
	if f, ok := c.Stdout.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
			return max(int(ws.Col), 40)
		}
	}
	return pipeWidth
}

// dumps lists the dumps in dir, or in the configured targets if dir is empty,
// and says where it looked. A configured target that does not exist yet holds no
// dumps; dir must exist. With an error there are those of the directories that can
// be read.
func (c *ctl) dumps(dir string) (dumps []crashdir.Dump, where string, err error) {
	dirs := []string{dir}
	if dir != "" {
		if _, err := os.Stat(dir); err != nil {
			return nil, "", err
		}
	} else {
		conf, err := c.config()
		if err != nil {
			return nil, "", err
		}
		dirs = conf.DumpDirs(c.root)
	}
	var errs []error
	for _, d := range dirs {
		list, err := crashdir.List(d)
		if err != nil {
			errs = append(errs, err)
		}
		dumps = append(dumps, list...)
	}
	crashdir.Sort(dumps)
	return dumps, strings.Join(dirs, " or "), errors.Join(errs...)
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

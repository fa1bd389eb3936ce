package ctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
)

const listUsage = `Usage: kdumpctl list [--json] [--dir DIRECTORY]

Lists the dumps, oldest first: name, size, outcome, kernel and panic line.

Lines are cut to the width of the terminal, or to 120 characters.

  --dir DIRECTORY  where the dumps are (default: all that are configured)
  --json           print a JSON array, with nothing cut
`

const (
	// maxText is how many characters of one text out of a dump are shown to a
	// person.
	maxText = 1000
	// pipeWidth is the width of a list that does not go to a terminal.
	pipeWidth = 120
)

// listed is one dump as list --json and info --json print it.
type listed struct {
	Name    string           `json:"name"`
	Path    string           `json:"path"`
	Time    time.Time        `json:"time"`
	Outcome crashdir.Outcome `json:"outcome"`
	Vmcore  string           `json:"vmcore,omitempty"`
	Bytes   int64            `json:"bytes"` // of all files
	Problem string           `json:"problem,omitempty"`
	Report  *crashdir.Report `json:"report,omitempty"`
}

func listOf(d crashdir.Dump) listed {
	l := listed{Name: d.Name, Path: d.Path, Time: d.Time, Outcome: d.Outcome, Vmcore: d.Vmcore, Bytes: d.Size, Report: d.Report}
	if d.ReportErr != nil {
		l.Problem = d.ReportErr.Error()
	}
	return l
}

func (c *ctl) list(args []string) error {
	fs := c.Flags("list", listUsage)
	dir := fs.String("dir", "", "")
	asJSON := fs.Bool("json", false, "")
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	dumps, parent, unread := c.dumps(*dir)
	if unread != nil && len(dumps) == 0 {
		return unread
	}
	if *asJSON {
		list := []listed{} // never null
		for _, d := range dumps {
			list = append(list, listOf(d))
		}
		if err := printJSON(c.Stdout, list); err != nil {
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
			kernel, reason = orDash(text(d.Report.Kernel, 40)), orDash(panicLine(d.Report))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.Name, cli.Size(d.Size), d.Outcome, kernel, reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	width := c.width()
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(c.Stdout, text(line, width)); err != nil {
			return err
		}
	}
	return unread
}

// width returns how many characters a line of Stdout should have at most.
func (c *ctl) width() int {
	if f, ok := c.Stdout.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
			return max(int(ws.Col), 40)
		}
	}
	return pipeWidth
}

// text returns s for a person: clean, on one line, and cut after so many
// characters.
func text(s string, limit int) string {
	s = cli.Clean(s)
	n := 0
	end := 0 // of what is left if s is too long
	for i := range s {
		if n == limit-1 {
			end = i
		}
		if n++; n > limit {
			return s[:end] + "…"
		}
	}
	return s
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
		dirs = c.targetDirs(conf)
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

// targetDirs returns the directories in which there can be dumps, as this process
// reaches them: the configured targets, where raw dumps are collected to, and
// those for evidence.
func (c *ctl) targetDirs(conf *config.Config) []string {
	names := conf.Directories()
	if len(names) == 0 {
		names = append(names, defaultDir)
	}
	for _, e := range conf.Evidence {
		if e != config.Pstore && !slices.Contains(names, e) {
			names = append(names, e)
		}
	}
	var dirs []string
	for _, n := range names {
		dirs = append(dirs, filepath.Join(c.root, n))
	}
	return dirs
}

// panicLine is the one line that tells why the kernel crashed, for a person: the
// oops if there was one, the panic otherwise.
func panicLine(r *crashdir.Report) string {
	if r.Panic.Cause != "" {
		return text(r.Panic.Cause, maxText)
	}
	return text(r.Panic.Line, maxText)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printJSON prints v for programs, on one screen with people: what JSON allows in
// strings but a terminal would obey is escaped.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04x`, u)
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
)

const statusUsage = `Usage: kdumpctl status [--json]

Says whether a capture kernel is loaded, how much memory is reserved for it,
where the next dump goes and what the last one was; and in one line what is
missing, if anything.

  --json  print it as JSON

Exit status: 0 if a capture kernel is loaded, 3 if not.
`

// status is what status --json prints.
type status struct {
	Loaded   bool    `json:"loaded"`
	Ours     *loaded `json:"capture_kernel,omitempty"` // nil if something else loaded it
	Reserved int64   `json:"reserved_bytes"`
	Image    struct {
		Path  string    `json:"path,omitempty"`
		Bytes int64     `json:"bytes,omitempty"`
		Time  time.Time `json:"time,omitzero"`
		Stale string    `json:"stale,omitempty"` // why it has to be built again
	} `json:"image"`
	Verified *verifiedStatus `json:"verified,omitempty"` // nil if only root could tell
	Targets  []targetStatus  `json:"targets"`            // in the order in which they are tried
	Dumps    *int            `json:"dumps"`              // null if that is not known
	Last     *listed         `json:"last_dump,omitempty"`
	Partial  bool            `json:"partial,omitempty"` // not run by root, who alone sees images and dumps
	Missing  string          `json:"missing,omitempty"` // the first thing that is
	Advice   string          `json:"advice,omitempty"`

	dumpsHidden bool // the directory of the dumps cannot be read
}

func (c *ctl) status(args []string) error {
	f := c.Flags("status", statusUsage)
	asJSON := f.Bool("json", false, "")
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	s := c.gatherStatus()
	var err error
	if *asJSON {
		err = cli.WriteJSON(c.Stdout, s)
	} else {
		err = c.printStatus(s)
	}
	if err == nil && !s.Loaded {
		return advice.ErrNotLoaded
	}
	return err
}

// gatherStatus asks everything it can. The first thing that stands in the way of
// a dump becomes Missing.
func (c *ctl) gatherStatus() *status {
	s := &status{Partial: c.uid != 0, Targets: []targetStatus{}}
	missing := func(err error) {
		if err != nil && s.Missing == "" {
			s.Missing, s.Advice = err.Error(), advice.For(err)
		}
	}
	var err error
	s.Reserved, err = c.kexec.Reserved()
	missing(err)
	if err == nil && s.Reserved == 0 {
		missing(c.kexec.NotReserved())
	}
	s.Loaded, err = c.kexec.Loaded()
	missing(err)
	if s.Loaded {
		s.Ours = c.readLoaded()
		missing(fallbackError(s.Ours))
	}
	if !s.Partial {
		s.Verified = c.gatherVerified(s.Ours)
	}
	conf, err := c.config()
	missing(err)
	if err == nil {
		c.gatherTargets(s, conf, missing)
		c.gatherDumps(s, missing)
	}
	if conf != nil && !s.Partial {
		b, err := builder.New(builder.Options{Root: c.root, Config: conf, Pid1: c.pid1})
		missing(err)
		if err == nil {
			c.describeTargets(s, b)
			for _, name := range b.Uncollected {
				missing(advice.With(errors.New(name+" has a dump that was not collected and takes no other"), "Run kdumpctl collect."))
			}
			c.gatherImage(s, b, missing)
			for _, t := range slices.Concat(b.Plan.Targets, b.Plan.Evidence) {
				missing(c.checkKeys(&t, s.Ours))
			}
		}
	}
	if err := s.checkRoom(); err != nil {
		missing(err)
	}
	if s.Loaded {
		missing(c.checkUnits(s))
	} else {
		missing(errNothingLoaded)
	}
	return s
}

// errNothingLoaded is missing where everything else is in place.
var errNothingLoaded = advice.With(errors.New("no capture kernel is loaded"), "Run kdumpctl load now, and systemctl enable ukdump.service for every boot.")

func (c *ctl) gatherImage(s *status, b *builder.Build, missing func(error)) {
	path := c.imagePath(b)
	file := path
	if b.Initramfs != "" { // of the machine, not of this process
		path, file = b.Initramfs, filepath.Join(c.root, b.Initramfs)
	}
	s.Image.Path = path
	if fi, err := os.Stat(file); err == nil {
		s.Image.Bytes, s.Image.Time = fi.Size(), fi.ModTime().UTC().Round(time.Second)
	}
	if b.Initramfs == "" {
		why, err := stale(b, path)
		missing(err)
		s.Image.Stale = why
	}
	if s.Ours != nil && s.Ours.Image == path { // not one given with --image
		want, err := b.Fingerprint()
		missing(err)
		if s.Ours.Fingerprint != want {
			missing(advice.With(errors.New("the loaded image is out of date: what goes into it has changed"), "Run kdumpctl reload."))
		}
	}
	if s.Ours != nil {
		missing(s.Ours.differs(b))
	}
}

func (c *ctl) gatherDumps(s *status, missing func(error)) {
	dumps, _, err := c.dumps("")
	hidden := s.Partial && errors.Is(err, fs.ErrPermission)
	if !hidden {
		missing(err)
	}
	n := len(dumps)
	if n == 0 && err != nil {
		s.dumpsHidden = hidden
		return
	}
	s.Dumps = &n
	if n > 0 {
		l := listOf(dumps[len(dumps)-1])
		s.Last = &l
	}
}

func (c *ctl) printStatus(s *status) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	row := func(name, format string, a ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, cli.Clean(fmt.Sprintf(format, a...)))
	}
	switch {
	case !s.Loaded:
		row("capture kernel", "not loaded")
	case s.Ours == nil && s.Partial:
		row("capture kernel", "loaded")
	case s.Ours == nil:
		row("capture kernel", "loaded, but not by kdumpctl since this boot")
	default:
		row("capture kernel", "loaded: %s (%s)", s.Ours.Release, s.Ours.Kernel)
	}
	switch {
	case s.Reserved == 0:
		row("memory", "none reserved")
	case s.Ours != nil:
		row("memory", "%s reserved; %s for the kernel to start, %s for its image", cli.Size(s.Reserved), cli.Size(s.Ours.KernelBytes), cli.Size(s.Ours.ImageBytes))
	default:
		row("memory", "%s reserved", cli.Size(s.Reserved))
	}
	if s.Image.Bytes > 0 {
		state := "up to date"
		if s.Image.Stale != "" {
			state = "to be built again: " + s.Image.Stale
		}
		row("image", "%s, %s, %s", s.Image.Path, cli.Size(s.Image.Bytes), state)
	} else if s.Image.Path != "" {
		row("image", "none yet, load builds it")
	}
	if s.Verified != nil {
		row("verified", "%s", s.Verified.line())
	}
	for _, t := range s.Targets {
		row("target", "%s", t.line())
	}
	if s.Ours != nil && s.Ours.Forecast != nil {
		row("forecast", "%s", s.forecastLine())
		if note := s.Ours.Forecast.Note; note != "" {
			row("", "%s", note)
		}
	}
	switch {
	case s.dumpsHidden:
		row("dumps", "only root can see them")
	case s.Dumps == nil:
		row("dumps", "not known")
	case s.Last == nil:
		row("dumps", "none")
	default:
		last := s.Last.Name + ", " + string(s.Last.Outcome)
		if s.Last.Report != nil {
			last += ": " + cli.OrDash(cli.Text(s.Last.Report.Panic.Reason(), cli.MaxText))
		}
		row("dumps", "%d, the last %s", *s.Dumps, last)
	}
	switch {
	case s.Missing != "":
		row("missing", "%s", s.Missing)
		if s.Advice != "" {
			row("", "%s", s.Advice)
		}
	case s.Partial:
		row("missing", "nothing that can be seen without root")
	default:
		row("missing", "nothing")
	}
	return w.Flush()
}

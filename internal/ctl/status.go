package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/load"
	"ukdump/internal/state"
	"ukdump/internal/trigger"
	"ukdump/internal/verify"
)

// condition is the answer of status in one word, the same in JSON and as exit status.
type condition string

const (
	allWell    condition = "ok"         // no problem was found, and nothing was hidden
	notLoaded  condition = "not-loaded" // no capture kernel
	atRisk     condition = "at-risk"    // one is loaded, but there is a problem
	notVisible condition = "unknown"    // no problem was found, but only root sees everything
)

// exitStatuses of the conditions. 1 and 2 are those of errors.
var exitStatuses = map[condition]int{allWell: advice.Done, notLoaded: 3, atRisk: 4, notVisible: 5}

// status is the output of status --json.
type status struct {
	State    condition         `json:"state"`
	Loaded   bool              `json:"loaded"`
	Ours     *state.LoadRecord `json:"capture_kernel,omitempty"` // nil if something else loaded it
	InMemory bool              `json:"in_memory,omitempty"`      // the reserved memory was seen to have that set
	Reserved *int64            `json:"reserved_bytes,omitempty"` // nil if it cannot be read
	Needed   int64             `json:"needed_bytes,omitempty"`   // by a capture, estimate; 0 if it is not known
	LogOnly  bool              `json:"log_only,omitempty"`       // the next crash leaves no vmcore, by DUMP=log
	Image    struct {
		Path  string    `json:"path,omitempty"`
		Bytes int64     `json:"bytes,omitempty"`
		Time  time.Time `json:"time,omitzero"`
		Stale string    `json:"stale,omitempty"` // why it is out of date
	} `json:"image"`
	Verified *verify.Last    `json:"verified,omitempty"`       // nil if only root could tell
	Tested   *verify.Tested  `json:"tested,omitempty"`         // nil if only root could tell
	Targets  []targetStatus  `json:"targets"`                  // in the order in which they are tried
	Events   *trigger.Report `json:"events,omitempty"`         // that start the capture kernel, and those that do not
	Dumps    *int            `json:"dumps"`                    // null if that is not known
	LeftOut  int             `json:"dumps_left_out,omitempty"` // directories that are not known to be dumps of root
	Last     *dumpJSON       `json:"last_dump,omitempty"`
	Partial  bool            `json:"partial,omitempty"` // not run by root, who alone sees images and dumps
	Missing  string          `json:"missing,omitempty"` // the first thing that is
	Advice   string          `json:"advice,omitempty"`

	leftOut     []error
	dumpsHidden bool // the directory of the dumps cannot be read
	doubtful    bool // something else may be loaded than Ours

	verify.Findings `json:"-"`
}

func (c *ctl) statusVerb() *cli.Command {
	var asJSON bool
	return &cli.Command{
		Name: "status", Summary: "show the loaded kernel, its memory and targets, and the first problem",
		About: `Shows whether a capture kernel is loaded, how much memory is reserved for it, where
the next dump goes, the last dump, and in one line the first thing that is missing.`,
		Options: func(f *pflag.FlagSet) { f.BoolVar(&asJSON, "json", false, "print JSON") },
		Status: []string{
			"0 if no problem was found", "3 if no capture kernel is loaded",
			"4 if one is loaded with a problem", "5 if the answer needs root",
		},
		Run: func([]string) error { return c.status(asJSON) },
	}
}

func (c *ctl) status(asJSON bool) error {
	s := c.gatherStatus()
	var err error
	if asJSON {
		err = cli.WriteJSON(c.Stdout, s)
	} else {
		err = c.printStatus(s)
	}
	if code := exitStatuses[s.State]; err == nil && code != advice.Done {
		return advice.Answer(code)
	}
	return err
}

// condition judges the gathered facts.
func (s *status) condition() condition {
	switch {
	case !s.Loaded:
		return notLoaded
	case s.First() != nil:
		return atRisk
	case s.Partial:
		return notVisible
	}
	return allWell
}

// gatherStatus asks everything it can. The first problem on the way of a dump becomes
// Missing.
func (c *ctl) gatherStatus() *status {
	s := &status{Partial: c.uid != 0, Targets: []targetStatus{}}
	c.gatherSlot(s)
	s.Events = trigger.Read(c.root)
	conf, err := c.config()
	s.LogOnly = s.Ours != nil && s.Ours.LogOnly
	if !s.Problem("configuration", err) {
		if s.Ours == nil {
			s.LogOnly = conf.LogOnly
		}
		c.gatherTargets(s, conf)
		c.gatherDumps(s)
		if !s.Partial {
			c.gatherBuild(s, conf)
		}
	}
	s.Problem("space", s.noRoom())
	if s.Loaded {
		s.Problem("units", verify.Units(c.root, s.rawTargets()))
		s.Problem("units", verify.OtherTools(c.root))
	} else {
		s.Problem("loaded", verify.ErrNothingLoaded)
	}
	if p := s.First(); p != nil {
		s.Missing, s.Advice = p.Text, p.Advice
	}
	s.State = s.condition()
	return s
}

// gatherSlot asks the kernel.
func (c *ctl) gatherSlot(s *status) {
	var err error
	reserved, err := c.kexec.Reserved()
	if !s.Problem("memory", err) {
		s.Reserved = &reserved
	}
	if err == nil && reserved == 0 {
		s.Problem("memory", c.kexec.NotReserved())
	}
	s.Loaded, err = c.kexec.Loaded()
	s.Problem("loaded", err)
	if s.Loaded {
		s.Problem("loaded", c.gatherLoaded(s))
		s.Problem("loaded", load.FallbackProblem(s.Ours))
		s.Problem("memory", c.loader().MemoryProblem(s.Ours))
	}
	if s.Ours != nil {
		s.Needed = s.Ours.Needed
	}
	if !s.Partial {
		s.Verified = verify.LastResult(c.store, s.Ours)
		s.Tested = verify.LastTest(c.store, s.Ours)
	}
}

// busyLimit is how long status waits for a load that is going on.
const busyLimit = 3 * time.Second

// gatherLoaded reads the record of the loaded set, and returns the problem that
// something else is loaded. During a load there is no record for a moment.
func (c *ctl) gatherLoaded(s *status) error {
	if s.Ours = c.store.Loaded(); s.Partial {
		return nil
	}
	const pause = 100 * time.Millisecond
	for waited := time.Duration(0); ; waited += pause {
		err := load.NotOurs()
		if s.Ours = c.store.Loaded(); s.Ours != nil {
			s.InMemory, err = c.loader().Replaced(s.Ours)
			s.doubtful = err != nil
		}
		if err == nil || waited >= busyLimit || !c.store.Busy() {
			return err
		}
		c.sleep(pause)
	}
}

// gatherBuild compares with the image and command line that load would use now.
func (c *ctl) gatherBuild(s *status, conf *config.Config) {
	b, err := builder.New(c.loader().BuildOptions(conf))
	if s.Problem("machine", err) {
		return
	}
	c.describeTargets(s, b)
	for _, name := range b.Uncollected {
		s.Problem("target", verify.Uncollected(name))
	}
	for _, ro := range b.ReadOnly {
		if ro.Doubtful() {
			s.Problem("target", ro)
		}
	}
	for _, err := range load.OmittedProblems(s.Ours, b) {
		s.Problem("target", err)
	}
	if load.OmittedOf(s.Ours, b) != nil {
		return
	}
	c.gatherImage(s, b)
	if !s.Loaded && s.Reserved != nil && *s.Reserved > 0 {
		c.gatherMemory(s, b)
	}
	for _, t := range slices.Concat(b.Plan.Targets, b.Plan.Evidence) {
		s.Problem("target", c.loader().CheckKeys(&t, s.Ours))
	}
}

func (c *ctl) gatherImage(s *status, b *builder.Build) {
	path := c.loader().ImagePath(b)
	file := path
	if b.Initramfs != "" { // of the machine, not of this process
		path, file = b.Initramfs, filepath.Join(c.root, b.Initramfs)
	}
	s.Image.Path = path
	if fi, err := os.Stat(file); err == nil {
		s.Image.Bytes, s.Image.Time = fi.Size(), fi.ModTime().UTC().Round(time.Second)
	}
	if b.Initramfs == "" {
		why, err := load.Stale(b, path)
		s.Problem("image", err)
		s.Image.Stale = why
	}
	if s.Ours != nil {
		s.Problem("image", c.loader().Outdated(s.Ours, b))
		s.Problem("loaded", load.Differs(s.Ours, b))
	}
}

// gatherMemory looks whether a load would have enough memory.
func (c *ctl) gatherMemory(s *status, b *builder.Build) {
	packed, unpacked, err := c.imageSize(s, b)
	if s.Problem("image", err) {
		return
	}
	rec := c.loader().Estimate(b, packed, unpacked)
	s.Needed = rec.Needed
	if _, _, err := c.kexec.RoomFor(b.Kernel.Path, rec.KernelBytes, packed, unpacked); err != nil {
		s.Problem("memory", err)
		return
	}
	s.Problem("memory", c.loader().MemoryProblem(rec))
}

// imageSize returns the size of the image that a load would take, in bytes.
func (c *ctl) imageSize(s *status, b *builder.Build) (packed, unpacked int64, err error) {
	if b.Initramfs != "" {
		data, contents, err := b.EmergencyImage()
		if err != nil {
			return 0, 0, err
		}
		return int64(len(data)), contents.Unpacked, nil
	}
	if s.Image.Stale == "" {
		return s.Image.Bytes, b.Unpacked(), nil
	}
	packed, err = b.PackedSize()
	return packed, b.Unpacked(), err
}

func (c *ctl) gatherDumps(s *status) {
	all, _, err := c.scan("")
	dumps := all.Dumps
	s.leftOut, s.LeftOut = all.LeftOut, all.NLeftOut
	hidden := s.Partial && errors.Is(err, fs.ErrPermission)
	if !hidden {
		s.Problem("dumps", err)
	}
	n := len(dumps)
	away := slices.ContainsFunc(s.Targets, func(t targetStatus) bool { return t.NotMounted != "" })
	if n == 0 && (err != nil || away) {
		s.dumpsHidden = hidden
		return
	}
	s.Dumps = &n
	if n > 0 {
		l := jsonOf(dumps[len(dumps)-1])
		s.Last = &l
	}
}

// eventRows describes to people which events start the capture kernel.
func (s *status) eventRows() (rows [][2]string) {
	if s.Events == nil {
		return nil
	}
	rows = append(rows, [2]string{"captured", trigger.Names(s.Events.Captured)})
	for _, x := range []struct {
		name   string
		events []trigger.Event
	}{{"not captured", s.Events.NotCaptured}, {"not known", s.Events.Unknown}} {
		if len(x.events) > 0 {
			rows = append(rows, [2]string{x.name, trigger.Names(x.events)})
		}
	}
	for _, d := range s.Events.Delays {
		rows = append(rows, [2]string{"delayed", d})
	}
	return rows
}

func (s *status) memoryLine() string {
	switch {
	case s.Reserved == nil:
		return notKnown
	case *s.Reserved == 0:
		return "none reserved"
	case s.Needed == 0:
		return cli.Size(*s.Reserved) + " reserved"
	}
	return fmt.Sprintf("%s reserved; a capture needs about %s", cli.Size(*s.Reserved), cli.Size(s.Needed))
}

// dumpsLine says how many dumps there are, and why the last kernel crashed.
func (s *status) dumpsLine() string {
	switch {
	case s.dumpsHidden:
		return "only root can see them"
	case s.Dumps == nil:
		return notKnown
	case s.Last == nil:
		return "none"
	}
	last := s.Last.Name + ", " + s.Last.outcome
	if why := s.Last.reason; why != "-" && why != s.Last.outcome {
		last += ": " + why
	}
	return fmt.Sprintf("%d, the last %s", *s.Dumps, last)
}

func (c *ctl) printStatus(s *status) error {
	var list rows
	row := list.add
	switch {
	case !s.Loaded:
		row("capture kernel", "not loaded")
	case s.Ours == nil && s.Partial:
		row("capture kernel", "loaded")
	case s.Ours == nil:
		row("capture kernel", "loaded, but not by kdumpctl since this boot")
	case s.doubtful:
		row("capture kernel", "loaded, but doubtful whether it is %s (%s)", s.Ours.Release, s.Ours.Kernel)
	default:
		row("capture kernel", "loaded: %s (%s)", s.Ours.Release, s.Ours.Kernel)
	}
	row("memory", "%s", s.memoryLine())
	if s.Image.Bytes > 0 {
		state := "up to date"
		if s.Image.Stale != "" {
			state = "out of date: " + s.Image.Stale
		}
		row("image", "%s, %s, %s", s.Image.Path, cli.Size(s.Image.Bytes), state)
	} else if s.Image.Path != "" {
		row("image", "none yet, load builds it")
	}
	if s.Verified != nil {
		row("verified", "%s", s.Verified)
	}
	if s.Tested != nil {
		row("tested", "%s", s.Tested)
	}
	for _, t := range s.Targets {
		row("target", "%s", t.line())
	}
	if s.LogOnly {
		row("dump", builder.LogOnly)
	}
	if s.Ours != nil && s.Ours.Forecast != nil {
		row("forecast", "%s", s.forecastLine())
		if note := s.Ours.Forecast.Note; note != "" {
			row("", "%s", note)
		}
	}
	for _, r := range s.eventRows() {
		row(r[0], "%s", r[1])
	}
	row("dumps", "%s", s.dumpsLine())
	for _, err := range s.leftOut {
		row("", "left out: %v", err)
	}
	if more := s.LeftOut - len(s.leftOut); more > 0 {
		row("", "left out: %d more directories", more)
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
	return list.print(c.Stdout, c.terminalWidth())
}

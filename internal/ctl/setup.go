package ctl

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/bootloader"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/load"
	"ukdump/internal/setup"
	"ukdump/internal/trigger"
)

const aboutSetup = `Sets this machine up: crashkernel= for the next boot in the files of the boot loader, the
events that panic, and the units. Without --apply it changes nothing and prints what it
would change. --remove takes all of it back.

The size is the one that kdumpctl estimate calls safe, or a comfortable one as long as no
crash or test was captured with this kernel. What the next boot has already stays, unless
it is too small.`

// setupOptions are those of setup.
type setupOptions struct {
	apply, remove bool
	loader        string
	crashkernel   string
	triggers      string
	disableOthers bool
	json          bool
}

func (c *ctl) setupVerb() *cli.Command {
	var o setupOptions
	return &cli.Command{
		Name: "setup", Summary: "set crashkernel= in the boot loader, and what else a machine needs", About: aboutSetup,
		Root: true,
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&o.apply, "apply", false, "make the changes")
			f.BoolVar(&o.remove, "remove", false, "take back what setup has changed")
			f.StringVar(&o.crashkernel, "crashkernel", "", "`SIZE` the value of crashkernel=, as 128M or 512M,high; several with spaces between them")
			f.StringVar(&o.loader, "loader", "", "`NAME` the boot loader to change, if several are installed")
			f.StringVar(&o.triggers, "trigger", "", "`LIST` events that panic, with commas between them: "+choiceNames()+", or none (default: oops, or what an earlier setup has set)")
			f.BoolVar(&o.disableOthers, "disable-others", false, "disable other tools that load a capture kernel")
			f.BoolVar(&o.json, "json", false, "print the plan as JSON")
		},
		Run: func([]string) error {
			if o.apply && o.remove {
				return cli.Usage(errors.New("--apply and --remove exclude each other"))
			}
			if o.remove {
				return c.locked("setup", c.setupRemove)
			}
			return c.locked("setup", func() error { return c.setup(o) })
		},
	}
}

func choiceNames() string {
	var names []string
	for _, t := range trigger.Choices {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

// setupPlan plans what the options ask for.
func (c *ctl) setupPlan(m *setup.Machine, o setupOptions) (*setup.Plan, error) {
	given, err := parseCrashkernel(o.crashkernel)
	if err != nil {
		return nil, err
	}
	if err := bootloader.Known(o.loader); o.loader != "" && err != nil {
		return nil, cli.Usage(fmt.Errorf("--loader: %w", err))
	}
	chosen, known := m.Triggers()
	if !known {
		o.triggers = cmp.Or(o.triggers, strings.Join(trigger.DefaultChoices, ","))
	}
	if o.triggers != "" {
		if chosen, err = trigger.ParseChoices(o.triggers); err != nil {
			return nil, cli.Usage(fmt.Errorf("--trigger: %w", err))
		}
	}
	lend := ""
	p, err := m.Plan(setup.Options{
		Loader: o.loader, Triggers: chosen, DisableOthers: o.disableOthers, OfferKernel: c.offer(),
		Crashkernel: func(now []string) (words []string, why string) {
			if given != nil {
				return given, "as --crashkernel says"
			}
			words, why, lend = c.chooseSize(now)
			return words, why
		},
	})
	if err == nil && lend != "" {
		p.Notes = append(p.Notes, lend+".")
	}
	return p, err
}

// offer returns the function that estimates the reservation for setup.CaptureKernel, nil if
// the configuration names another kernel, or systemd runs in it, which needs more.
func (c *ctl) offer() func() (int64, error) {
	conf, err := c.config()
	if err != nil || conf.Kernel != "" || conf.Emergency() {
		return nil
	}
	small := *conf
	small.Kernel = setup.CaptureKernel
	return func() (int64, error) { return c.recommended(&small) }
}

// recommended returns the size to reserve for the capture kernel that conf names, in bytes.
func (c *ctl) recommended(conf *config.Config) (int64, error) {
	b, err := builder.New(c.loader().BuildOptions(conf))
	if err != nil {
		return 0, err
	}
	kernel, err := load.KernelFile(b)
	if err != nil {
		return 0, err
	}
	defer kernel.File.Close()
	if unsigned := c.kexec.CheckSigned(kernel); unsigned != nil {
		return 0, unsigned
	}
	z, err := c.sizingOf(b, conf)
	if err != nil {
		return 0, err
	}
	return z.Recommended(), nil
}

// sizeWord is a value of crashkernel= (Documentation/admin-guide/kernel-parameters.txt).
var sizeWord = regexp.MustCompile(`^(auto|[0-9]+[KMGTkmgt]?(-[0-9]*[KMGTkmgt]?:[0-9]+[KMGTkmgt]?)?(,[0-9]+[KMGTkmgt]?-[0-9]*[KMGTkmgt]?:[0-9]+[KMGTkmgt]?)*(@[0-9]+[KMGTkmgt]?|@0x[0-9a-fA-F]+)?(,(high|low|cma))?)$`)

// parseCrashkernel returns the words for the values that --crashkernel has, nil for none.
func parseCrashkernel(s string) (words []string, err error) {
	for _, value := range strings.Fields(s) {
		value = strings.TrimPrefix(value, "crashkernel=")
		if !sizeWord.MatchString(value) {
			return nil, cli.Usage(fmt.Errorf("--crashkernel: %.60q is no size such as 128M, 512M,high or 1G-4G:192M,4G-:256M", value))
		}
		words = append(words, "crashkernel="+value)
	}
	return words, nil
}

// chooseSize returns the words to reserve memory with, and how to lend a part of it, "" if
// that cannot be offered. now are the words of the next boot.
func (c *ctl) chooseSize(now []string) (words []string, why, lend string) {
	reserved, err := c.reserved()
	if err != nil {
		reserved = 0
	}
	line := strings.Fields(c.kexec.Crashkernel())
	z, err := c.sizing()
	if err != nil {
		if len(now) > 0 {
			return now, "the next boot has it already; how much is needed is not known: " + err.Error(), ""
		}
		return []string{fmt.Sprintf("crashkernel=%dM", fallbackSize())}, "a default for this architecture, as the need is not known: " + err.Error(), ""
	}
	switch {
	case len(now) > 0 && !slices.Equal(now, line):
		return now, "the next boot has it already; it is not tried yet", ""
	case len(now) > 0 && reserved >= z.Smallest:
		return now, fmt.Sprintf("the next boot has it already, and it is enough: %d MiB are safe", z.Smallest>>20), ""
	case z.Tested():
		why = fmt.Sprintf("captures on this machine show that %d MiB are safe", z.Smallest>>20)
	default:
		why = fmt.Sprintf("comfortable until kdumpctl test has measured it: the estimate is %d MiB", z.Smallest>>20)
	}
	if z.Lent > 0 {
		lend = lendLine(z)
	}
	return []string{fmt.Sprintf("crashkernel=%dM", z.Recommended()>>20)}, why, lend
}

// fallbackSize is the reservation for a kernel of which nothing is known, in MiB. arm64
// kernels may have pages of 64 KiB, and need several times as much then.
func fallbackSize() int {
	if runtime.GOARCH == "arm64" {
		return 512
	}
	return 256
}

func (c *ctl) setup(o setupOptions) error {
	m := c.setupMachine()
	p, err := c.setupPlan(m, o)
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	if o.json {
		if err := cli.WriteJSON(c.Stdout, setupJSON(p)); err != nil || !o.apply {
			return err
		}
	} else if err := c.printPlan(p); err != nil {
		return err
	}
	if !o.apply {
		if !o.json && !p.Nothing() {
			c.Say("\nNothing was changed. Run kdumpctl setup --apply with the same options to make the changes.")
		}
		return nil
	}
	say := c.Say
	if o.json {
		say = func(string, ...any) {}
	}
	if !p.Nothing() {
		if err := m.Apply(p, say); err != nil {
			return fmt.Errorf("setup: %w", err)
		}
	} else if err := m.Check(p); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	if len(p.Manual) > 0 {
		return advice.With(errors.New("setup: something is left to do by hand"), strings.Join(p.Manual, " "))
	}
	if !o.json {
		c.Say("The next boot has %s.", strings.Join(p.Words, " "))
		c.Say("%s", c.afterSetup(p))
	}
	return nil
}

// afterSetup says what to do when setup is done.
func (c *ctl) afterSetup(p *setup.Plan) string {
	if reserved, err := c.kexec.Reserved(); err != nil || reserved == 0 || !slices.Equal(p.Words, strings.Fields(c.kexec.Crashkernel())) {
		return "Reboot. Then run kdumpctl test, which proves that a crash is saved."
	}
	if loaded, err := c.kexec.Loaded(); err == nil && !loaded {
		return "Run systemctl start ukdump.service. Then run kdumpctl test, which proves that a crash is saved."
	}
	return "Run kdumpctl test, which proves that a crash is saved."
}

func (c *ctl) setupRemove() error {
	left, err := c.setupMachine().Remove(c.Say)
	if errors.Is(err, setup.ErrNothingToRemove) {
		c.Say("Nothing to remove: %v.", err)
		return nil
	}
	for _, f := range left {
		c.Say("%s was changed since, so it stays. To take back the rest, change it like this:", f.Path)
		fmt.Fprint(c.Stdout, f.Diff)
	}
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%s is not as before", left[0].Path)
	}
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	c.Say("All changes are taken back. A loaded capture kernel stays loaded until the next boot.")
	return nil
}

// printPlan shows what there is and what would change.
func (c *ctl) printPlan(p *setup.Plan) error {
	var list rows
	loader := "not known"
	if p.Loader != "" {
		loader = p.Loader
		if p.Because != "" {
			loader += ": " + p.Because
		}
	}
	list.add("boot loader", "%s", loader)
	if len(p.Entries) > 0 {
		now := strings.Join(p.Now, " ")
		if now == "" {
			now = "no crashkernel="
		}
		list.add("next boot", "%s", now)
	}
	list.add("memory", "%s, %s", strings.Join(p.Words, " "), p.Why)
	for _, n := range p.Notes {
		list.add("note", "%s", n)
	}
	for _, n := range p.Manual {
		list.add("by hand", "%s", n)
	}
	if p.Nothing() {
		list.add("changes", "none")
	}
	for _, r := range p.Run {
		list.add("run", "%s (%s)", strings.Join(r.Args, " "), r.Why)
	}
	if err := list.print(c.Stdout, c.terminalWidth()); err != nil {
		return err
	}
	for _, d := range p.Diffs() {
		if _, err := fmt.Fprintf(c.Stdout, "\n%s", d); err != nil {
			return err
		}
	}
	return nil
}

// setupJSON is the plan as setup --json prints it.
func setupJSON(p *setup.Plan) any {
	type file struct {
		Path string `json:"path"`
		Diff string `json:"diff"`
	}
	type command struct {
		Args []string `json:"args"`
		Why  string   `json:"why"`
	}
	out := struct {
		*setup.Plan
		Files    []file    `json:"files"`
		Commands []command `json:"commands"`
	}{p, []file{}, []command{}}
	for i, d := range p.Diffs() {
		out.Files = append(out.Files, file{p.Files[i].Path, d})
	}
	for _, r := range p.Run {
		out.Commands = append(out.Commands, command{r.Args, r.Why})
	}
	return out
}

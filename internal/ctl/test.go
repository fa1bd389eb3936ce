package ctl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
	"ukdump/internal/cli"
	"ukdump/internal/crashtest"
	"ukdump/internal/host"
	"ukdump/internal/plan"
	"ukdump/internal/state"
	"ukdump/internal/verify"
)

const aboutTest = `Crashes this machine on purpose and lets the capture kernel save a dump, which proves
what verify can only predict. No data is lost: the machine shuts down as for a reboot,
and the kernel crashes in the last moment, when all file systems are unmounted or
read-only. The next boot announces the result, and status shows it.

Checks as verify does first, and does not begin with a problem. On a terminal it asks
before it begins; elsewhere it needs --yes.`

// testOptions are those of test.
type testOptions struct {
	dryRun bool
	now    bool
	keep   bool
	yes    bool
}

func (c *ctl) testVerb() *cli.Command {
	var o testOptions
	return &cli.Command{
		Name: "test", Summary: "reboot with a real crash at the end, to prove that it is saved", About: aboutTest,
		Root: true,
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&o.dryRun, "dry-run", false, "check everything and say what would happen, without a reboot")
			f.BoolVar(&o.keep, "keep", false, "keep the vmcore of the test; without it, only the report and the logs stay")
			f.BoolVar(&o.now, "now", false, "crash at once, without a shutdown: file systems are synced and made read-only, but running programs lose what they have not saved. The default without systemd")
			f.BoolVar(&o.yes, "yes", false, "do not ask")
		},
		Run: func([]string) error { return c.test(o) },
	}
}

func (c *ctl) test(o testOptions) error {
	m := crashtest.NewMachine(c.root, c.sleep)
	o.now = o.now || !m.Systemd()
	var rec *state.LoadRecord
	err := c.locked("test", func() (err error) {
		rec, err = c.testable(m, o.now)
		return err
	})
	if err != nil {
		return fmt.Errorf("test: %w", err)
	}
	if err := c.describeTest(rec, o); err != nil || o.dryRun {
		return err
	}
	if !o.yes {
		yes, err := c.ask("Crash this machine now?")
		if err != nil || !yes {
			return err
		}
	}
	t := c.store.NewTest(crashtest.Token(), o.keep, rec)
	if err := c.store.SaveTest(t); err != nil {
		return fmt.Errorf("test: %w", err)
	}
	if err := c.crash(m, t, o.now); err != nil {
		t.Result, t.Why = state.TestFailed, "it did not begin: "+err.Error()
		return errors.Join(fmt.Errorf("test: %w", err), m.Unmark(), c.store.SaveTest(t))
	}
	return nil
}

// testable returns the loaded set if a crash of it is expected to be saved.
func (c *ctl) testable(m *crashtest.Machine, now bool) (*state.LoadRecord, error) {
	loaded, err := c.kexec.Loaded()
	if err != nil {
		return nil, err
	}
	if !loaded {
		return nil, advice.With(errors.New("no capture kernel is loaded: the crash would save nothing"), "Run kdumpctl load.")
	}
	rec := c.store.Loaded()
	if rec == nil {
		return nil, advice.With(errors.New("kdumpctl has not loaded the capture kernel since this boot"), "Run kdumpctl reload.")
	}
	v := c.checker()
	if err := v.Verify(); err != nil {
		return nil, err
	}
	if err := c.store.SaveVerified(v.Result()); err != nil {
		c.Warn(fmt.Sprintf("status will not know the result of the checks: %v", err))
	}
	if p := v.First(); p != nil {
		err := fmt.Errorf("a crash may not be saved: %s: %s", p.Topic, p.Text)
		if n := len(v.Problems()); n > 1 {
			err = fmt.Errorf("%w (and %d more: see kdumpctl verify)", err, n-1)
		}
		return nil, advice.With(err, p.Advice)
	}
	return rec, m.Ready(now)
}

// describeTest says what is going to happen.
func (c *ctl) describeTest(rec *state.LoadRecord, o testOptions) error {
	conf, err := c.config()
	if err != nil {
		return err
	}
	c.Say("No problem was found. The capture kernel is %s.", cli.Text(rec.Release, 70))
	if o.now {
		c.Say("This machine will crash at once. Its file systems are made read-only before; programs are not ended.")
	} else {
		c.Say("This machine will shut down and crash in the last moment, with all file systems unmounted or read-only.")
	}
	if rec.LogOnly {
		c.Say("The capture kernel then saves the kernel log and the report, which are kept, and no vmcore (DUMP=log).")
	} else if o.keep {
		c.Say("The capture kernel then saves a dump, which is kept.")
	} else {
		c.Say("The capture kernel then saves a dump, of which the report and the logs are kept.")
	}
	switch conf.FinalAction {
	case plan.Reboot:
		c.Say("The machine starts again, and the boot announces the result in the journal. kdumpctl status shows it.")
	default:
		c.Say("The machine ends with FINAL_ACTION=%s. The next boot announces the result in the journal. kdumpctl status shows it.", conf.FinalAction)
	}
	if !host.UnitEnabled(c.root, verify.AnnounceUnit) {
		c.Warn(verify.AnnounceUnit+" is not enabled: the next boot does not announce the result", "Run kdumpctl announce then, or systemctl enable ukdump.service now.")
	}
	return nil
}

// crash begins the test. Without an error the machine goes down.
func (c *ctl) crash(m *crashtest.Machine, t *state.Test, now bool) error {
	if now {
		// A machine that goes down in a test was not lost.
		if err := c.store.EndWatch(); err != nil {
			return err
		}
		return m.Crash(t.Token)
	}
	if err := m.Mark(t.Token); err != nil {
		return err
	}
	return c.reboot()
}

// reboot asks systemd for a reboot. It returns before that.
func reboot() error {
	out, err := exec.Command("systemctl", "reboot").CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl reboot: %w: %s", err, cli.Text(strings.TrimSpace(string(out)), 300))
	}
	return nil
}

// askTerminal asks a question that is answered with yes or no, on the terminal.
func (c *ctl) askTerminal(question string) (bool, error) {
	if !cli.IsTerminal(os.Stdin) {
		return false, advice.With(errors.New("standard input is not a terminal, so nobody can be asked"), "Give --yes.")
	}
	fmt.Fprintf(c.Stdout, "%s [y/N] ", question)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	c.Say("Nothing was done.")
	return false, nil
}

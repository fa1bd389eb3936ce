package ctl

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/pflag"

	"ukdump/internal/announce"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/state"
)

func (c *ctl) announceVerb() *cli.Command {
	var watch, shutdown, hooks bool
	return &cli.Command{
		Name: "announce", Summary: "report new crashes to the journal",
		About: `Reports each new crash once, as an entry in the journal of priority crit that says
whether its dump is complete. Without a journal it is a line on standard error.
ukdump-announce.service runs it at every boot.`,
		Root: true, Either: true,
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&watch, "watch", false, "also watch this boot: if it ends without announce --shutdown while a capture kernel is loaded, the next announce reports that")
			f.BoolVar(&shutdown, "shutdown", false, "only end the watch, because the machine is shut down")
			f.BoolVar(&hooks, "hooks", false, "only run the program of HOOK for crashes that were announced")
		},
		Run: func([]string) error {
			switch {
			case shutdown:
				return c.store.EndWatch()
			case hooks:
				return c.runHooks()
			}
			return c.announce(watch)
		},
	}
}

func (c *ctl) announce(watch bool) error {
	unlock, err := c.store.LockAnnounce()
	if err != nil {
		return err
	}
	defer unlock()
	err = c.announceNow(watch)
	if !watch {
		return err
	}
	// The capture kernel is loaded all the same, so there is something to watch;
	// and only a unit that has started with status 0 is stopped, which ends the watch.
	if err != nil {
		c.Warn(err.Error())
	}
	return c.store.BeginWatch()
}

// announceNow announces the crashes that can be known now: early in a boot a dump may be where
// nothing is mounted yet.
func (c *ctl) announceNow(early bool) error {
	// A mistake in the configuration must not keep a crash secret.
	conf, bad := c.config()
	if bad != nil {
		conf = config.Default()
	}
	if early {
		if m := host.MissingMount(c.root, conf.DumpDirs(c.root)); m != nil {
			c.Say("%s is not mounted: ukdump-announce-late.service announces crashes", m.Point)
			return bad
		}
	}
	run := c.announcer()
	err := run.Announce(conf)
	if bad != nil {
		return bad
	}
	return err
}

// announcer returns the value that announces for this run.
func (c *ctl) announcer() *announce.Run {
	return &announce.Run{Out: c.Program, Root: c.root, Store: c.store, JournalLimit: c.journalLimit, StartHooks: c.startHooks}
}

// hookJSON is the standard input of a hook.
type hookJSON struct {
	*state.Hook
	Dump *dumpJSON `json:"dump,omitempty"` // as info --json prints it
}

// runHooks runs the program of HOOK for each crash that waits for it.
func (c *ctl) runHooks() error {
	conf, err := c.config()
	if err != nil {
		return err
	}
	run := c.announcer()
	run.Adopt = c.adopt
	return run.RunHooks(conf, func(h *state.Hook) ([]byte, error) {
		in := hookJSON{Hook: h}
		if h.Directory != "" {
			// A dump that was removed meanwhile is no reason to report nothing.
			if d, err := crashdir.Read(h.Directory); err == nil {
				l := jsonOf(d)
				in.Dump = &l
			}
		}
		var b bytes.Buffer
		err := cli.WriteJSON(&b, in)
		return b.Bytes(), err
	})
}

// startHooks starts the unit that runs the hooks; without systemd, a process.
func startHooks() error {
	if !host.SystemdRuns("/") {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.Command(self, "announce", "--hooks")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Start()
	}
	return systemctl("--no-block", "start", "ukdump-hook.service")
}

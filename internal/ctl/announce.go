package ctl

import (
	"github.com/spf13/pflag"

	"ukdump/internal/announce"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/host"
)

func (c *ctl) announceVerb() *cli.Command {
	var watch, shutdown bool
	return &cli.Command{
		Name: "announce", Summary: "report new crashes to the journal",
		About: `Reports each new crash once, as an entry in the journal of priority crit that says
whether its dump is complete. Without a journal it is a line on standard error.
ukdump-announce.service runs it at every boot.`,
		Root: true, Either: true,
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&watch, "watch", false, "also watch this boot: if it ends without announce --shutdown while a capture kernel is loaded, the next announce reports that")
			f.BoolVar(&shutdown, "shutdown", false, "only end the watch, because the machine is shut down")
		},
		Run: func([]string) error {
			if shutdown {
				return c.store.EndWatch()
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
			c.Say("%s is not mounted, ukdump-announce-late.service tells about crashes", m.Point)
			return bad
		}
	}
	run := announce.Run{Out: c.Program, Root: c.root, Store: c.store, JournalLimit: c.journalLimit}
	err := run.Announce(conf)
	if bad != nil {
		return bad
	}
	return err
}

package ctl

import (
	"errors"

	"ukdump/internal/announce"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/host"
)

const announceUsage = `Usage: kdumpctl announce [--watch | --shutdown]

Tells about crashes that nobody was told about yet: one entry in the journal for
each, of priority crit, whether its dump is complete or nothing was saved. Without
a journal it is one line on standard error. ukdump-announce.service does it at
every boot.

  --watch     and if this boot ends without announce --shutdown while a capture
              kernel is loaded, the next announce tells about that too
  --shutdown  only say that the machine is being shut down
`

func (c *ctl) announce(args []string) error {
	f := c.Flags("announce", announceUsage)
	watch := f.Bool("watch", false, "")
	shutdown := f.Bool("shutdown", false, "")
	if _, err := cli.Parse(f, args, 0, 0); err != nil {
		return err
	}
	if *watch && *shutdown {
		return cli.Usage(errors.New("--watch and --shutdown exclude each other"))
	}
	if err := c.needRoot("announce"); err != nil {
		return err
	}
	if *shutdown {
		return c.store.EndWatch()
	}
	unlock, err := c.store.LockAnnounce()
	if err != nil {
		return err
	}
	defer unlock()
	err = c.announceNow(*watch)
	if !*watch {
		return err
	}
	// The capture kernel is loaded all the same, so there is something to watch;
	// and only what has started with status 0 is stopped, which ends the watch.
	if err != nil {
		c.Warn(err.Error())
	}
	return c.store.BeginWatch()
}

// announceNow announces what can be known now: early in a boot a dump may be where
// nothing is mounted yet.
func (c *ctl) announceNow(early bool) error {
	// A mistake in the configuration must not keep a crash secret.
	conf, bad := c.config()
	if bad != nil {
		conf = config.Default()
	}
	if m := host.MissingMount(c.root, conf.DumpDirs(c.root)); early && m != nil {
		c.Say("%s is not mounted, ukdump-announce-late.service tells about crashes", m.Point)
		return bad
	}
	run := announce.Run{Out: c.Program, Root: c.root, Store: c.store, JournalLimit: c.journalLimit}
	err := run.Announce(conf)
	if bad != nil {
		return bad
	}
	return err
}

package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/core"
	"github.com/u-root/u-root/pkg/core/cat"
	"github.com/u-root/u-root/pkg/core/chmod"
	"github.com/u-root/u-root/pkg/core/cp"
	"github.com/u-root/u-root/pkg/core/find"
	"github.com/u-root/u-root/pkg/core/ls"
	"github.com/u-root/u-root/pkg/core/mkdir"
	"github.com/u-root/u-root/pkg/core/mv"
	"github.com/u-root/u-root/pkg/core/rm"
	"github.com/u-root/u-root/pkg/core/shasum"
	"github.com/u-root/u-root/pkg/core/tar"
	"github.com/u-root/u-root/pkg/core/touch"

	"ukdump/internal/plan"
)

// call is one call of a command.
type call struct {
	s      *Session
	ctx    context.Context
	args   []string // without the name
	in     io.Reader
	out    io.Writer
	errors io.Writer
	dir    string // working directory
	env    core.LookupEnvFunc
}

// path returns a path from an argument.
func (c *call) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// errSilent is failure without a message, such as that of grep.
var errSilent = errors.New("")

// A command prints to its call and returns its error.
type command struct {
	name  string
	about string
	run   func(c *call) error
}

// ownCommands are in the order of help.
var ownCommands []command

func init() { // help needs the table
	ownCommands = []command{
		{"capture", "try the capture again, after the cause of its failure was removed", ending(plan.ExitCapture)},
		{"save", "DEVICE|DIRECTORY: write log, report and vmcore there", saveCommand},
		{"plan", "show the tasks of the capture", planCommand},
		{"report", "show the errors and results of the capture", reportCommand},
		{"reboot", "reboot the machine", ending(plan.ExitReboot)},
		{"poweroff", "switch the machine off", ending(plan.ExitPoweroff)},
		{"halt", "halt the machine", ending(plan.ExitHalt)},
		{"lsblk", "list block devices", lsblk},
		{"blkid", "[DEVICE]...: show type, UUID and label of file systems", blkid},
		{"mount", "[-r] [-t TYPE] [-o OPTIONS] DEVICE DIRECTORY: mount; without arguments list mounts", mount},
		{"umount", "DIRECTORY...: unmount", umount},
		{"lsmod", "list loaded modules", lsmod},
		{"insmod", "FILE [PARAMETER=VALUE]...: load a module", insmod},
		{"rmmod", "MODULE...: unload modules", rmmod},
		{"dmesg", "show the log of the running kernel", dmesg},
		{"ps", "list processes", ps},
		{"free", "show the use of memory", free},
		{"dd", "if=FILE of=FILE [bs=N] [count=N] [skip=N] [seek=N]: copy blocks", dd},
		{"grep", "[-i] [-v] REGEXP [FILE]...: show matching lines", grep},
		{"head", "[-n N] [FILE]...: show the first lines", head},
		{"tail", "[-n N] [FILE]...: show the last lines", tailCommand},
		{"sync", "write all data to the disks", syncCommand},
		{"help", "list the commands", help},
	}
}

// coreCommands are u-root's.
var coreCommands = map[string]func() core.Command{
	"cat": cat.New, "chmod": chmod.New, "cp": cp.New, "find": find.New, "ls": ls.New, "mkdir": mkdir.New,
	"mv": mv.New, "rm": rm.New, "shasum": shasum.New, "tar": tar.New, "touch": touch.New,
}

// lookup returns the command of that name, nil if there is none.
func lookup(name string) func(c *call) error {
	if i := slices.IndexFunc(ownCommands, func(c command) bool { return c.name == name }); i >= 0 {
		return ownCommands[i].run
	}
	newCommand := coreCommands[name]
	if newCommand == nil {
		return nil
	}
	return func(c *call) error {
		cmd := newCommand()
		cmd.SetIO(c.in, c.out, c.errors)
		cmd.SetWorkingDir(c.dir)
		cmd.SetLookupEnv(c.env)
		return cmd.RunContext(c.ctx, c.args...)
	}
}

// ending returns a command that ends the shell with that status.
func ending(status int) func(c *call) error {
	return func(*call) error { return &leave{status} }
}

func help(c *call) error {
	for _, own := range ownCommands {
		fmt.Fprintf(c.out, "%-9s %s\n", own.name, own.about)
	}
	var names []string
	for name := range coreCommands {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(c.out, "also %s, the programs in /bin, and the language of bash\n", strings.Join(names, " "))
	return nil
}

package ctl

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ukdump/internal/advice"
	"ukdump/internal/archive"
	"ukdump/internal/cli"
	"ukdump/internal/crashdir"
	"ukdump/internal/dump"
	"ukdump/internal/dumpfile"
	"ukdump/internal/kmsg"
	"ukdump/internal/unseal"
	"ukdump/internal/vmcore"
)

const aboutExport = `Packs a dump into one file to give away, NAME.tar.zst: the report, the logs, the
configuration, configuration and types (BTF) of the kernel, and on request the vmcore.
--scrub strikes out names of hosts and users, addresses, serial numbers, and passwords,
keys and tokens; it cannot know all of them, so read the result before you publish it.
Encrypted files stay encrypted without --identity.

DUMP is a name as for info.`

// exportOptions are the options of export.
type exportOptions struct {
	dumpOptions
	vmcore, scrub bool
	output        string
}

func (c *ctl) exportVerb() *cli.Command {
	var o exportOptions
	return &cli.Command{
		Name: "export", Summary: "pack a dump into one file to give away", About: aboutExport,
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&o.vmcore, "vmcore", false, "with the vmcore")
			f.BoolVar(&o.scrub, "scrub", false, "strike out private facts in the texts")
			f.StringVarP(&o.output, "output", "o", "", "`FILE` write to this new file, - for the standard output")
			o.addIdentity(f)
			o.addDir(f)
		},
		Args: "DUMP", Min: 1, Max: 1, Values: c.dumpNames(&o.dumpOptions),
		Run: func(args []string) error { return c.export(o, args[0]) },
	}
}

func (c *ctl) export(o exportOptions, name string) error {
	ids, err := o.identities()
	if err != nil {
		return err
	}
	d, err := c.findDump(o.dir, name)
	if err != nil {
		return err
	}
	if err := unsealReport(&d, ids); err != nil {
		return err
	}
	e := archive.Export{Dump: d, Vmcore: o.vmcore, Identities: ids}
	if conf, err := c.config(); err == nil && !imported(&d) {
		e.Config = conf.Files()
	}
	if o.scrub {
		e.Scrub = archive.NewScrubber(c.hostNames(&d, ids), c.userNames())
	}
	if err := e.Check(); err != nil {
		return cli.Usage(err)
	}
	path := cmp.Or(o.output, d.Name+".tar.zst")
	if out, ok := c.Stdout.(*os.File); ok && path == cli.StandardOutput && cli.IsTerminal(out) {
		return cli.Usage(errors.New("--output=-: an archive is not text for a terminal: redirect the output, or give a file"))
	}
	ctx, stop := untilSignal()
	defer stop()
	kernel, closeDump := c.kernelOf(&d, ids)
	defer closeDump()
	e.Kernel = kernel
	task := c.Begin("packing %s", d.Name)
	var done int64
	write := func(w io.Writer) error {
		return e.Write(w, func(n int64) { done += n; task.Share(done, d.Size) })
	}
	if path == cli.StandardOutput {
		err = write(&interruptible{ctx, c.Stdout})
	} else {
		err = newFile(ctx, path, write)
	}
	task.End()
	if err != nil {
		return fmt.Errorf("export %s: %w", d.Name, err)
	}
	c.warnNoTypes(&e)
	if path != cli.StandardOutput {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		c.Say("%s, %s", path, cli.Size(fi.Size()))
	}
	if o.vmcore && (ids != nil || !d.Sealed()) {
		c.Warn("the vmcore in it is the memory of the machine, with passwords and keys")
	}
	return nil
}

// hostNames returns the names of the machine that crashed, and of this one.
func (c *ctl) hostNames(d *crashdir.Dump, ids *unseal.Identities) (names []string) {
	if d.Report != nil {
		names = append(names, d.Report.Host)
	}
	if d.Vmcore != "" {
		names = append(names, nodeName(d, ids))
	}
	for _, name := range []string{"etc/hostname", "proc/sys/kernel/hostname"} {
		if b, err := crashdir.ReadFile(filepath.Join(c.root, name), 4<<10); err == nil {
			names = append(names, strings.TrimSpace(string(b)))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nodeName returns the name of the machine in the vmcore, "" if it cannot be read.
func nodeName(d *crashdir.Dump, ids *unseal.Identities) string {
	f, err := d.Open(filepath.Base(d.Vmcore))
	if err != nil {
		return ""
	}
	memory, err := openContent(f, ids)
	if err != nil {
		return ""
	}
	defer memory.Close()
	h, err := dumpfile.ReadHeader(memory)
	if err != nil {
		return ""
	}
	return h.Nodename
}

// The UIDs of people, see systemd's docs/UIDS-GIDS.md. Those of services have the same
// names on every machine.
const (
	firstUser = 1000
	lastUser  = 60000
)

// userNames returns the names of people in passwd(5).
func (c *ctl) userNames() (names []string) {
	f, err := os.Open(filepath.Join(c.root, "etc/passwd"))
	if err != nil {
		return nil
	}
	defer f.Close()
	const most = 1 << 20
	for s := bufio.NewScanner(io.LimitReader(f, most)); s.Scan(); {
		fields := strings.Split(s.Text(), ":")
		if len(fields) < 4 {
			continue
		}
		if uid, err := strconv.Atoi(fields[2]); err == nil && uid >= firstUser && uid <= lastUser {
			names = append(names, fields[0])
		}
	}
	return names
}

const aboutImport = `Takes a file in as a dump of its own: an archive of kdumpctl export, or a vmcore of
another machine or tool. list shows it as imported. It is not announced as a crash, does
not count towards KEEP, and is never removed to make room.`

func (c *ctl) importVerb() *cli.Command {
	var dir string
	return &cli.Command{
		Name: "import", Summary: "take in an exported dump or a vmcore of another tool", About: aboutImport,
		Options: func(f *pflag.FlagSet) {
			f.StringVar(&dir, "dir", "", "`DIRECTORY` save it here (default: imported in the first that is configured)")
		},
		Args: "FILE", Min: 1, Max: 1, Root: true,
		Run: func(args []string) error { return c.importFile(args[0], dir) },
	}
}

func (c *ctl) importFile(path, dir string) error {
	conf, err := c.config()
	if err != nil {
		return err
	}
	dirs := conf.DumpDirs(c.root)
	if dir == "" {
		if dir, err = importedIn(dirs[0]); err != nil {
			return advice.With(fmt.Errorf("import: %w", err), "Remove it, or give --dir.")
		}
	} else if slices.Contains(dirs, filepath.Clean(dir)) {
		return cli.Usage(errors.New("import: --dir is a directory of this machine's own dumps: omit it"))
	}
	var size int64
	if fi, err := os.Stat(path); err == nil {
		if size = fi.Size(); fi.IsDir() {
			return importDirectory(path)
		}
	}
	task := c.Begin("importing %s", path)
	var done int64
	im := archive.Import{Dir: dir, Copied: func(n int64) { done += n; task.Share(done, size) }}
	ctx, stop := untilSignal()
	defer stop()
	made, err := im.File(ctx, path)
	task.End()
	if err != nil {
		return err
	}
	if err := saveLog(made); err != nil {
		c.Warn(err.Error())
	}
	d, err := crashdir.Read(made)
	if err != nil {
		return err
	}
	if im.Cut != nil {
		c.Warn(fmt.Sprintf("the vmcore is not whole: %v", im.Cut))
	}
	c.Say("%s, %s, %s", d.Path, cli.Size(d.Size), verifiedOutcome(&d))
	return nil
}

// importDirectory is the error for a directory, which names the vmcore in it.
func importDirectory(path string) error {
	err := fmt.Errorf("import %s: a directory, not a file", path)
	if core := coreIn(path); core != "" {
		return advice.With(err, "Give the vmcore in it: kdumpctl import "+core)
	}
	return advice.With(err, "Give a vmcore, or an archive of kdumpctl export.")
}

// verifiedOutcome is the outcome of an imported dump with the checks that it is based on: those
// of dumpfile.VerifyFile read no page, and those of unseal.InspectFile nothing that is encrypted.
func verifiedOutcome(d *crashdir.Dump) string {
	if d.Outcome != crashdir.Complete {
		return string(d.Outcome)
	}
	if d.Sealed() {
		return "complete by its length: the encrypted content was not read"
	}
	f, err := d.Open(filepath.Base(d.Vmcore))
	if err != nil {
		return string(d.Outcome)
	}
	defer f.Close()
	if h, err := dumpfile.ReadHeader(f); err == nil && h.Format == dumpfile.ELF {
		return "complete: all its memory is inside the file"
	}
	return "complete: all its pages are inside the file, but were not decompressed"
}

// saveLog writes the log in the vmcore of an imported dump beside it, if it has none: list
// and info read why a kernel crashed from there.
func saveLog(dir string) error {
	const name = crashdir.Dmesg
	d, err := crashdir.Read(dir)
	if err != nil || d.Vmcore == "" || d.Sealed() {
		return err
	}
	for _, have := range []string{name, name + crashdir.Suffix, crashdir.ReportFile} {
		if _, err := os.Lstat(filepath.Join(dir, have)); err == nil {
			return nil
		}
	}
	memory, err := dump.Open(d.Vmcore)
	if err != nil {
		return fmt.Errorf("no log: %w", err)
	}
	defer memory.Close()
	records := 0
	err = crashdir.WriteFile(dir, name, func(w io.Writer) error {
		p := logPrinter{w: bufio.NewWriter(w)}
		err := kmsg.Read(memory, func(r vmcore.Record) { records++; p.print(r) })
		return cmp.Or(err, p.w.Flush())
	})
	if records == 0 {
		os.Remove(filepath.Join(dir, name+crashdir.Suffix))
	}
	if err != nil {
		return fmt.Errorf("the log in the vmcore: %w", err)
	}
	return nil
}

// importedDir is the directory of imported dumps, below one of this machine's own. Its name
// is not that of a dump, so nothing that announces, counts or removes dumps looks into it,
// a capture least of all.
const importedDir = "imported"

// imported reports whether a dump was imported.
func imported(d *crashdir.Dump) bool { return filepath.Base(filepath.Dir(d.Path)) == importedDir }

// importedIn returns the path of the imported dumps below dir, with an error if it, or a link
// there, belongs neither to root, nor to the caller, nor to the owner of dir: some
// distributions let everyone write to /var/crash. The dumps there are trusted as far as it is.
func importedIn(dir string) (string, error) {
	path := filepath.Join(dir, importedDir)
	var above, link, st unix.Stat_t
	if unix.Lstat(path, &link) != nil || unix.Stat(path, &st) != nil || unix.Stat(dir, &above) != nil {
		return path, nil // not there, or whoever opens it says why
	}
	for _, uid := range []uint32{link.Uid, st.Uid} {
		if uid != 0 && int(uid) != os.Geteuid() && uid != above.Uid {
			return path, &crashdir.OwnerError{Path: path, UID: uid}
		}
	}
	return path, nil
}

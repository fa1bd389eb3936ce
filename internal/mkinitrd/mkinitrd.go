// Package mkinitrd is the command line of mkkdumpinitrd(8).
package mkinitrd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"ukdump/initramfs"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

const usage = `Usage: mkkdumpinitrd [OPTION]...
       mkkdumpinitrd ls [--long] IMAGE
       mkkdumpinitrd cat IMAGE FILE

Builds the initramfs of a capture kernel: kdumpinit, the modules that the chosen
kernel needs to reach the dump target of this machine, makedumpfile and a plan.
ls lists the files in an image, cat prints one.

Options:
  --kernel PATH|RELEASE  kernel that the image is for (default: KERNEL of the
                         configuration, else the running kernel)
  --output FILE          image (default: /var/lib/ukdump/initramfs-RELEASE.img)
  --config FILE          read only this file instead of /etc/ukdump.conf and
                         /etc/ukdump.conf.d/*.conf
  --target TARGET        directory or raw:DEVICE that dumps go to; given several
                         times, the first that works gets the dump (default:
                         TARGET of the configuration, else /var/crash and then
                         the swap partition if there is one)
  --compress METHOD      zstd, gzip, xz, none or auto: the first of these that the
                         kernel can unpack (default: auto)
  --explain              print every file of the image with its size and why it
                         is there, largest first
  --root DIRECTORY       build for the machine whose file system tree begins here,
                         with its proc and sys
  --kdumpinit FILE       PID 1 (default: the one installed with this program)
  --version              print the version
`

// Run runs mkkdumpinitrd and returns its exit status.
func Run(p *cli.Program) int { return p.End(run(p)) }

func run(p *cli.Program) error {
	if len(p.Args) > 0 {
		switch p.Args[0] {
		case "ls":
			return list(p, p.Args[1:])
		case "cat":
			return cat(p, p.Args[1:])
		}
	}
	f := p.Flags("", usage)
	var (
		o        builder.Options
		confFile = f.String("config", "", "")
		output   = f.String("output", "", "")
		explain  = f.Bool("explain", false, "")
		version  = f.Bool("version", false, "")
	)
	f.StringVar(&o.Kernel, "kernel", "", "")
	f.Var((*cli.List)(&o.Targets), "target", "")
	f.StringVar(&o.Compress, "compress", "auto", "")
	f.StringVar(&o.Root, "root", "/", "")
	f.StringVar(&o.Pid1, "kdumpinit", builder.DefaultPid1(), "")
	if _, err := cli.Parse(f, p.Args, 0, 0); err != nil {
		return err
	}
	if *version {
		fmt.Fprintln(p.Stdout, "mkkdumpinitrd", plan.Software)
		return nil
	}
	for i, t := range o.Targets {
		t, err := config.CheckTarget(t)
		if err != nil {
			return cli.Usage(fmt.Errorf("--target: %w", err))
		}
		o.Targets[i] = t
	}
	if o.Compress != "auto" {
		if _, err := initramfs.ParseCompression(o.Compress); err != nil {
			return cli.Usage(fmt.Errorf("--compress %s: %w", o.Compress, err))
		}
	}
	var err error
	if *confFile != "" {
		o.Config, err = config.LoadFile(*confFile)
	} else {
		o.Config, err = config.Load(o.Root)
	}
	if err != nil {
		return err
	}
	if o.Config.Emergency() {
		return &emergencyError{}
	}
	begin := time.Now()
	b, err := builder.New(o)
	if err != nil {
		return err
	}
	path := *output
	if path == "" {
		path = filepath.Join(o.Root, state.ImagePath(b.Kernel.Release))
		// Only the default place: a typing error in --output is an error.
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
	}
	if err := b.WriteFile(path); err != nil {
		return err
	}
	p.Warn(b.Warnings...)
	if *explain {
		if err := printFiles(p.Stdout, b); err != nil {
			return err
		}
	}
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "%s: kernel %s, %s packed with %s, %s unpacked, %.1f s\n", path, b.Kernel.Release,
		cli.Size(fi.Size()), b.Compression, cli.Size(b.Unpacked()), time.Since(begin).Seconds())
	return nil
}

// emergencyError is the answer to whoever asks for an image that is not used.
type emergencyError struct{}

func (*emergencyError) Error() string {
	return "nothing to build: MODE=emergency loads the distribution's own initramfs"
}

// Advice returns what to run instead.
func (*emergencyError) Advice() string { return "Run kdumpctl load." }

// printFiles explains the image, largest file first.
func printFiles(out io.Writer, b *builder.Build) error {
	files := slices.Clone(b.Files)
	slices.SortStableFunc(files, func(x, y builder.File) int { return int(y.Size - x.Size) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range files {
		fmt.Fprintf(w, "%9d\t%s\t%s\n", f.Size, f.Path, cli.Clean(f.Why))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range b.Builtin {
		fmt.Fprintf(out, "%9s  %s\n", "built in", cli.Clean(s))
	}
	for _, t := range b.Plan.Targets {
		if t.Kind == plan.Raw {
			fmt.Fprintf(out, "target: %s: %s, %s, PARTUUID %s, holds %s\n", t.Dir, t.Device.Name, cli.Size(b.RawSizes[t.Dir]),
				cmp.Or(t.Device.PartUUID, "none"), strings.TrimSpace(cmp.Or(t.Filesystem.Type, "nothing")+" "+t.Filesystem.UUID))
			continue
		}
		fmt.Fprintln(out, "target:", directory(t))
	}
	for _, s := range b.LeftOut {
		fmt.Fprintln(out, "no target:", cli.Clean(s))
	}
	for _, t := range b.Plan.Evidence {
		fmt.Fprintln(out, "evidence:", directory(t))
	}
	if b.Plan.Pstore {
		fmt.Fprintln(out, "evidence: pstore")
	}
	_, err := fmt.Fprintln(out, "command line:", b.Cmdline)
	return err
}

// directory says where a directory is.
func directory(t plan.Target) string {
	return fmt.Sprintf("%s: %s %s on %s, directory %s", t.Dir, t.Filesystem.Type, t.Filesystem.UUID, t.Device.Name, t.Path)
}

const lsUsage = `Usage: mkkdumpinitrd ls [--long] IMAGE

Lists the files in an initramfs image, of any origin.

  --long  with mode and size
`

func list(p *cli.Program, args []string) error {
	f := p.Flags("ls", lsUsage)
	long := f.Bool("long", false, "")
	names, err := cli.Parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	r, err := initramfs.OpenFile(names[0])
	if err != nil {
		return err
	}
	defer r.Close()
	// To the end before the first line: half a listing looks like a whole one.
	entries, err := r.List()
	if err != nil {
		return fmt.Errorf("%s: %w", names[0], err)
	}
	for _, e := range entries {
		line := cli.Clean(e.Path)
		if e.Mode&fs.ModeSymlink != 0 {
			line += " -> " + cli.Clean(e.Link)
		}
		if *long {
			line = fmt.Sprintf("%s %9d %s", e.Mode, e.Size, line)
		}
		fmt.Fprintln(p.Stdout, line)
	}
	return nil
}

const catUsage = `Usage: mkkdumpinitrd cat IMAGE FILE

Prints a file of an initramfs image. The plan is etc/ukdump/plan.json.
`

// maxCat bounds the file that cat holds in memory, in bytes.
const maxCat = 1 << 30

func cat(p *cli.Program, args []string) error {
	names, err := cli.Parse(p.Flags("cat", catUsage), args, 2, 2)
	if err != nil {
		return err
	}
	r, err := initramfs.OpenFile(names[0])
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := r.ReadFile(strings.TrimPrefix(filepath.Clean(names[1]), "/"), maxCat)
	if errors.Is(err, initramfs.ErrNotFound) {
		return fmt.Errorf("%s: it has no file %s: see mkkdumpinitrd ls %s", names[0], names[1], names[0])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", names[0], err)
	}
	_, err = p.Stdout.Write(data)
	return err
}

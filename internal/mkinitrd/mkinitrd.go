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

	"github.com/spf13/pflag"

	"ukdump/initramfs"
	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/mountd"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// Run runs mkkdumpinitrd and returns its exit status.
func Run(p *cli.Program) int {
	root, verbs := commands(p)
	return p.End(p.Dispatch(root, verbs, os.Geteuid()))
}

// options are those of mkkdumpinitrd without a verb.
type options struct {
	builder.Options
	targets []string // as given
	config  string   // file
	output  string   // file
	explain bool
	version bool
}

func (o *options) add(f *pflag.FlagSet) {
	f.StringVar(&o.Kernel, "kernel", "", "`PATH|RELEASE` kernel that the image is for (default: KERNEL of the configuration, else the running kernel)")
	f.StringVar(&o.output, "output", "", "`FILE` image (default: "+state.ImagePath("RELEASE")+")")
	f.StringVar(&o.config, "config", "", "`FILE` read only this file instead of /etc/ukdump.conf and /etc/ukdump.conf.d/*.conf")
	f.StringArrayVar(&o.targets, "target", nil, "`TARGET` directory or raw:DEVICE for dumps; if given several times, the first that works gets the dump (default: TARGET of the configuration, else /var/crash and then the first swap partition)")
	f.StringVar(&o.Compress, "compress", "auto", "`METHOD` zstd, gzip, xz, none or auto: the first of these that the kernel can unpack (default: auto)")
	f.BoolVar(&o.explain, "explain", false, "print every file of the image with its size and the reason for it, largest first")
	f.StringVar(&o.Root, "root", "/", "`DIRECTORY` build for the machine whose file system tree begins here, with its proc and sys")
	f.StringVar(&o.Pid1, "kdumpinit", builder.DefaultPid1(), "`FILE` PID 1 (default: the one installed with this program)")
	f.BoolVar(&o.version, "version", false, "print the version")
}

// commands returns the program without a verb, and its verbs.
func commands(p *cli.Program) (*cli.Command, []*cli.Command) {
	var o options
	var long bool
	root := &cli.Command{
		About: `Builds the initramfs of a capture kernel: kdumpinit, the modules that the chosen
kernel needs to reach the dump target of this machine, makedumpfile and a plan.`,
		Options: o.add,
		Run: func([]string) error {
			if o.version {
				p.Say("mkkdumpinitrd %s", plan.Software)
				return nil
			}
			return build(p, &o)
		},
	}
	var verbs []*cli.Command
	verbs = []*cli.Command{
		{
			Name: "ls", Summary: "list the files in an image", About: "Lists the files in an initramfs image, of any origin.",
			Options: func(f *pflag.FlagSet) { f.BoolVar(&long, "long", false, "with mode and size") },
			Args:    "IMAGE", Min: 1, Max: 1,
			Run: func(args []string) error { return list(p, args[0], long) },
		},
		{
			Name: "cat", Summary: "print a file of an image", About: "Prints a file of an initramfs image. The plan is etc/ukdump/plan.json.",
			Args: "IMAGE FILE", Min: 2, Max: 2,
			Run: func(args []string) error { return cat(p, args[0], args[1]) },
		},
		{
			Name: "completion", Summary: "print the completion script of a shell", About: "Prints the script that completes the command line of mkkdumpinitrd in bash, zsh or\nfish. Packages install it for all users.",
			Args: "SHELL", Min: 1, Max: 1, Values: func() []string { return cli.Shells },
			Run: func(args []string) error { return p.Completion(args[0], root, verbs) },
		},
	}
	return root, verbs
}

func (o *options) readConfig() (err error) {
	if o.config != "" {
		o.Config, err = config.LoadFile(o.config)
	} else {
		o.Config, err = config.Load(o.Root)
	}
	return err
}

func build(p *cli.Program, o *options) error {
	for _, name := range o.targets {
		t, err := config.ParseTarget(name)
		if err != nil {
			return cli.Usage(fmt.Errorf("--target: %w", err))
		}
		o.Targets = append(o.Targets, t)
	}
	if o.Compress != "auto" {
		if _, err := initramfs.ParseCompression(o.Compress); err != nil {
			return cli.Usage(fmt.Errorf("--compress %s: %w", o.Compress, err))
		}
	}
	if o.output == cli.StandardOutput {
		return cli.Usage(errors.New("--output takes a file: for one called -, give ./-"))
	}
	if err := o.readConfig(); err != nil {
		return err
	}
	if o.Config.Emergency() {
		return advice.With(errors.New("nothing to build: MODE=emergency loads the distribution's own initramfs"), "Run kdumpctl load.")
	}
	begin := time.Now()
	b, err := builder.New(o.Options)
	if err != nil {
		return err
	}
	if err := b.CheckNFS(mountd.Ask); err != nil {
		return err
	}
	path := o.output
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
	p.Warn(b.AllWarnings()...)
	if o.explain {
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
	if b.Plan.LogOnly {
		fmt.Fprintln(out, "dump: "+builder.LogOnly)
	}
	for _, t := range b.Plan.Targets {
		if t.Kind == plan.Raw {
			fmt.Fprintf(out, "target: %s: %s, %s, PARTUUID %s, holds %s\n", t.Dir, t.Device.Name, cli.Size(b.RawSizes[t.Dir]),
				cmp.Or(t.Device.PartUUID, "none"), strings.TrimSpace(cmp.Or(t.Filesystem.Type, "nothing")+" "+t.Filesystem.UUID))
			continue
		}
		if t.Kind != plan.Directory && t.Kind != plan.Mounted {
			fmt.Fprintf(out, "target: %s: below %s\n", t.Dir, t.Path)
			continue
		}
		fmt.Fprintln(out, "target:", directory(t))
	}
	for _, err := range b.LeftOut {
		fmt.Fprintln(out, "no target:", cli.Clean(err.Error()))
	}
	for _, err := range b.Omitted {
		fmt.Fprintln(out, "no target:", cli.Clean(err.Error()))
	}
	for _, t := range b.Plan.Evidence {
		fmt.Fprintln(out, "evidence:", directory(t))
	}
	if b.Plan.Pstore {
		fmt.Fprintln(out, "evidence: pstore")
	}
	if b.CPUs > 0 { // not in emergency mode
		fmt.Fprintf(out, "processors: %d: %s\n", b.CPUs, b.CPUsWhy)
	}
	if b.Compress != "" {
		fmt.Fprintf(out, "compression: %s: %s\n", b.Compress, b.CompressWhy)
	}
	_, err := fmt.Fprintln(out, "command line:", b.Cmdline)
	return err
}

// directory describes the storage of a directory.
func directory(t plan.Target) string {
	return fmt.Sprintf("%s: %s %s on %s, directory %s", t.Dir, t.Filesystem.Type, t.Filesystem.UUID, t.Device.Name, t.Path)
}

func list(p *cli.Program, image string, long bool) error {
	r, err := initramfs.OpenFile(image)
	if err != nil {
		return err
	}
	defer r.Close()
	// Read to the end before the first line: half a listing looks like a whole one.
	entries, err := r.List()
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	for _, e := range entries {
		line := cli.Clean(e.Path)
		if e.Mode&fs.ModeSymlink != 0 {
			line += " -> " + cli.Clean(e.Link)
		}
		if long {
			line = fmt.Sprintf("%s %9d %s", e.Mode, e.Size, line)
		}
		fmt.Fprintln(p.Stdout, line)
	}
	return nil
}

// maxCat bounds the file that cat holds in memory, in bytes.
const maxCat = 1 << 30

func cat(p *cli.Program, image, file string) error {
	r, err := initramfs.OpenFile(image)
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := r.ReadFile(strings.TrimPrefix(filepath.Clean(file), "/"), maxCat)
	if errors.Is(err, initramfs.ErrNotFound) {
		return fmt.Errorf("%s: no file %s: see mkkdumpinitrd ls %s", image, file, image)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	_, err = p.Stdout.Write(data)
	return err
}

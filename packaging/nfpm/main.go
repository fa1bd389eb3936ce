// Nfpm makes the deb, rpm and Arch packages of an installed tree.
//
// Synopsis:
//
//	cd packaging/nfpm && go run . ROOT ARCH VERSION OUT [CONFIG]
//
// ROOT is the DESTDIR of a "make install PREFIX=/usr" with programs for the
// architecture ARCH (amd64, arm64). OUT is the directory of the packages. Their files
// are those of ROOT, with the scripts in packaging/scripts and the rest of nfpm.yaml.
// CONFIG is used in place of nfpm.yaml, then without the scripts: capture-kernel.yaml.
// SOURCE_DATE_EPOCH is the time of every file, in seconds since 1970. MAINTAINER is a
// name with an address.
//
// It is a module of its own, so that nfpm is no dependency of ukdump.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/arch"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

func main() {
	if len(os.Args) != 5 && len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: nfpm ROOT ARCH VERSION OUT [CONFIG]")
		os.Exit(2)
	}
	config := program
	if len(os.Args) == 6 {
		config = os.Args[5]
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], config); err != nil {
		fmt.Fprintln(os.Stderr, "nfpm:", err)
		os.Exit(1)
	}
}

// program is the configuration of the package with the programs.
const program = "nfpm.yaml"

func run(root, arch, version, out, config string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	work, err := os.MkdirTemp("", "ukdump-nfpm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b := build{config: config, root: root, arch: arch, version: version, out: out, work: work, time: time.Unix(epoch, 0).UTC()}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, format := range []string{"deb", "rpm", "archlinux"} {
		if err := b.write(format); err != nil {
			return fmt.Errorf("%s for %s: %w", format, arch, err)
		}
	}
	return nil
}

// build is what the packages of one architecture have in common.
type build struct {
	root, arch, version, out string
	config                   string // file for nfpm
	work                     string // directory of generated files
	time                     time.Time
}

// write writes the package in one format.
func (b *build) write(format string) error {
	config, err := nfpm.ParseFileWithEnvMapping(b.config, b.variable)
	if err != nil {
		return err
	}
	info, err := config.Get(format)
	if err != nil {
		return err
	}
	info.MTime = b.time
	info.DisableGlobbing = true
	for _, c := range info.Contents { // of the configuration
		c.FileInfo.MTime = b.time
	}
	describe(info, format)
	contents, err := b.contents(format)
	if err != nil {
		return err
	}
	info.Contents = append(info.Contents, contents...)
	if b.config == program {
		if err := b.addScripts(info, format); err != nil {
			return err
		}
	}
	if err := b.addChangelog(info); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(b.out, packager.ConventionalFileName(info)))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := packager.Package(info, f); err != nil {
		return err
	}
	fmt.Println(f.Name())
	return f.Close()
}

// describe puts the parts of the description where the format wants them. As in Debian,
// the first line is a summary.
func describe(info *nfpm.Info, format string) {
	summary, text, _ := strings.Cut(info.Description, "\n")
	switch format {
	case "rpm":
		info.RPM.Summary, info.Description = strings.ToUpper(summary[:1])+summary[1:], text
	case "archlinux":
		info.ArchLinux.Packager, info.Description = info.Maintainer, summary
	}
}

// variable returns the value of a variable in the configuration.
func (b *build) variable(name string) string {
	switch name {
	case "ARCH":
		return b.arch
	case "VERSION":
		return b.version
	}
	return os.Getenv(name)
}

// contents returns the files of the tree, in the places that the format wants.
func (b *build) contents(format string) (list files.Contents, err error) {
	err = filepath.WalkDir(b.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, b.root)
		dst := place(format, name)
		if dst == "" || e.IsDir() && !own(name) {
			return nil
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		c := &files.Content{Source: path, Destination: dst, Type: kind(format, name)}
		c.FileInfo = &files.ContentFileInfo{Owner: "root", Group: "root", Mode: st.Mode().Perm(), MTime: b.time}
		switch {
		case e.IsDir():
			c.Source, c.Type, c.FileInfo.Mode = "", files.TypeDir, 0o755
		case !e.Type().IsRegular():
			return fmt.Errorf("%s: neither a file nor a directory", path)
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// place returns where a format wants a file of the tree, "" for nowhere.
func place(format, name string) string {
	const hooks, licenses = "/usr/share/libalpm", "/usr/share/licenses"
	switch {
	case strings.HasPrefix(name, hooks) && format != "archlinux":
		return "" // hooks of pacman
	case format != "deb" || !strings.HasPrefix(name, licenses):
		return name
	case name == licenses+"/ukdump/LICENSE":
		return "/usr/share/doc/ukdump/copyright" // Debian Policy 12.5
	}
	return ""
}

// kind returns the type of a file. rpm leaves documents out where they are not wanted.
func kind(format, name string) string {
	switch {
	case format != "rpm":
	case strings.HasPrefix(name, "/usr/share/doc/"), strings.HasPrefix(name, "/usr/share/man/"):
		return files.TypeRPMDoc
	case strings.HasPrefix(name, "/usr/share/licenses/"):
		return files.TypeRPMLicense
	}
	return files.TypeFile
}

// own reports whether a directory belongs to the package: rpm removes no others.
func own(name string) bool {
	base := filepath.Base(name)
	return base == "ukdump" || base == "swap.d" || strings.HasPrefix(name, "/usr/lib/ukdump/")
}

// addScripts adds the scripts of a format: each is the functions in ukdump.install and
// then the lines that call them.
func (b *build) addScripts(info *nfpm.Info, format string) error {
	const dir = "../scripts"
	functions, err := os.ReadFile(filepath.Join(dir, "ukdump.install"))
	if err != nil {
		return err
	}
	calls, err := filepath.Glob(filepath.Join(dir, format+".*"))
	if err != nil {
		return err
	}
	scripts := map[string]*string{
		"postinst": &info.Scripts.PostInstall, "postupgrade": &info.ArchLinux.Scripts.PostUpgrade,
		"prerm": &info.Scripts.PreRemove, "postrm": &info.Scripts.PostRemove,
	}
	for _, call := range calls {
		script := scripts[strings.TrimPrefix(filepath.Ext(call), ".")]
		if script == nil {
			return fmt.Errorf("%s: no such script", call)
		}
		text, err := os.ReadFile(call)
		if err != nil {
			return err
		}
		*script = filepath.Join(b.work, filepath.Base(call))
		text = fmt.Appendf([]byte("#!/bin/sh\n"), "%s\n%s", functions, text)
		if err := os.WriteFile(*script, text, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// addChangelog adds the changelog in the form that deb and rpm require: one entry,
// which refers to ours.
func (b *build) addChangelog(info *nfpm.Info) error {
	info.Changelog = filepath.Join(b.work, "changelog.yaml")
	text := fmt.Sprintf("- semver: %q\n  date: %s\n  packager: %q\n  deb: {urgency: medium, distributions: [unstable]}\n  changes:\n    - {note: %q}\n",
		b.version+"-"+info.Release, b.time.Format(time.RFC3339), info.Maintainer, "See /usr/share/doc/ukdump/CHANGELOG.md.")
	return os.WriteFile(info.Changelog, []byte(text), 0o644)
}

package bootloader

import (
	"errors"
	"slices"
	"strings"

	"ukdump/internal/advice"
)

// A manual says how a person gives the kernel of a loader words.
type manual struct {
	// entry is a part of the loader's files that Plan can edit: "ukdump finds no …".
	entry string
	place string // of the words
	then  string // the command that makes them take effect, "" for none
}

// manuals are the manuals by the name of the loader. FILE is the first file that Find returns.
var manuals = map[string]manual{
	"grub":              {`line "linux"`, grubNormal + " of " + grubDefaults, makesGrubConfig},
	"bls":               {`entry with a line "linux"`, `the line "options" of each file in ` + blsDir, ""},
	"systemd-boot":      {`entry with a line "linux"`, `the line "options" of the entry of your kernel in loader/entries`, ""},
	"uki":               {"unified image with a kernel", "the command line of the unified image and make it again", ""},
	"limine":            {`entry with "protocol: linux"`, `a line "cmdline:" of the entry of your kernel in FILE, below "protocol: linux"`, ""},
	"refind":            {"line with a title and options", "the options of your kernel in FILE", ""},
	"extlinux":          {`label with a line "linux" or "kernel"`, `a line "append" below the label of your kernel in FILE`, ""},
	uBootMenu.name:      {`label with a line "linux"`, uBootMenu.variable + " of " + uBootMenu.files, uBootMenu.program},
	updateExtlinux.name: {`label with a line "linux"`, updateExtlinux.variable + " of " + updateExtlinux.files, updateExtlinux.program},
	"flash-kernel":      {"command line", flashKernelLast + " of " + flashKernelDefaults, "flash-kernel"},
	"raspberry-pi":      {"command line", "the first line of FILE", ""},
	"ostree":            {"entry of OSTree", "the command line with rpm-ostree kargs --append=WORD for each word", ""},
	"nixos":             {"command line", "boot.kernelParams in the configuration of NixOS", "nixos-rebuild boot"},
}

// makesGrubConfig stands for the command of this machine that does.
const makesGrubConfig = "update-grub"

// ByHand returns the sentence that says how a person gives the kernel of a loader words.
func ByHand(s *System, loader string, words []string) string {
	m, ok := manuals[loader]
	if !ok {
		return "Add " + strings.Join(words, " ") + " to the kernel's command line in the boot loader's configuration."
	}
	file := "its configuration"
	if l, err := lookUp(loaders, loader); err == nil {
		if files := filesOf(s, l); len(files) > 0 {
			file = files[0]
		}
	}
	return strings.ReplaceAll(m.sentence(s, words), "FILE", file)
}

func (m manual) sentence(s *System, words []string) string {
	text := "Put " + strings.Join(words, " ") + " into " + m.place
	then := m.then
	if then == makesGrubConfig {
		p := new(Plan)
		if p.mkconfig(s, Edit{}) == nil {
			then = strings.Join(p.Commands[0].Args, " ")
		}
	}
	if then != "" {
		text += ", then run " + then
	}
	return text + "."
}

// filesOf returns the files of a loader, none if it does not find them.
func filesOf(s *System, l Loader) []string {
	f, err := l.Find(s)
	if err != nil || f == nil {
		return nil
	}
	return f.Files
}

// A placeError is an error about a place where Edit's words would go.
type placeError struct {
	error
	place string
	then  string // "" for that of the loader
}

func (e *placeError) Unwrap() error { return e.error }

// thenRun adds to a placeError the command that makes the words take effect.
func thenRun(err error, command ...string) error {
	var at *placeError
	if errors.As(err, &at) {
		at.then = strings.Join(command, " ")
	}
	return err
}

// Advise adds to an error of a loader how a person does what could not be done, if the error
// has no better advice.
func Advise(s *System, l Loader, words []string, err error) error {
	if err == nil || advice.For(err) != "" || len(words) == 0 {
		return err
	}
	var at *placeError
	if !errors.As(err, &at) {
		return advice.With(err, ByHand(s, l.Name(), words))
	}
	m := manual{place: at.place, then: at.then}
	if m.then == "" {
		m.then = manuals[l.Name()].then
	}
	return advice.With(err, m.sentence(s, words))
}

// Prepare is the Plan of a loader, but it always says how the words get to a kernel: errors
// have advice, and a plan without a change, although nothing that boots has the words, says
// what the user has to do.
func Prepare(s *System, l Loader, e Edit) (*Plan, error) {
	p, err := l.Plan(s, e)
	if err != nil {
		return nil, Advise(s, l, e.Words, err)
	}
	if len(e.Words) == 0 || len(p.Files)+len(p.Commands) > 0 || p.Manual != "" {
		return p, nil
	}
	entries, err := l.Next(s)
	if err != nil {
		return nil, Advise(s, l, e.Words, err)
	}
	if slices.ContainsFunc(entries, func(n Entry) bool { return e.holds(n.Cmdline) }) {
		return p, nil
	}
	p.Manual = nothingToEdit(s, l, entries) + " " + ByHand(s, l.Name(), e.Words)
	return p, nil
}

// stale reports whether the next boot has other words than e, although the configuration of
// the tool that writes the loader's files has them: somebody has not run it.
func (s *System) stale(l Loader, e Edit) (bool, error) {
	entries, err := l.Next(s)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(Counted(entries), func(n Entry) bool { return !e.holds(n.Cmdline) }), nil
}

// Counted returns the entries whose words decide about the next boot: the default, or all if
// none is known.
func Counted(entries []Entry) []Entry {
	chosen := slices.DeleteFunc(slices.Clone(entries), func(n Entry) bool { return !n.Default })
	if len(chosen) == 0 {
		return entries
	}
	return chosen
}

// nothingToEdit says why a plan has no change.
func nothingToEdit(s *System, l Loader, entries []Entry) string {
	if len(entries) > 0 {
		return "ukdump finds no line to change for the entry in " + entries[0].Source + "."
	}
	entry := manuals[l.Name()].entry
	if entry == "" {
		entry = "entry"
	}
	text := "ukdump finds no " + entry
	if files := filesOf(s, l); len(files) > 0 {
		text += " in " + strings.Join(files, " or ")
	}
	return text + "."
}

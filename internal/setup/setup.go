// Package setup changes the machine so that crashes are saved: the command line of the
// next boot, the events that panic, the units. It knows how to take all of that back.
package setup

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"ukdump/internal/advice"
	"ukdump/internal/bootloader"
	"ukdump/internal/cli"
	"ukdump/internal/host"
	"ukdump/internal/kmod"
	"ukdump/internal/state"
	"ukdump/internal/trigger"
)

// SysctlFile has the events that panic. It is read at each boot by sysctl.d(5).
const SysctlFile = "/etc/sysctl.d/60-ukdump.conf"

// Machine is the machine that is set up.
type Machine struct {
	Root   string // "/" but for tests
	Store  state.Store
	Run    func(args []string) ([]byte, error) // runs a command; the output is what it printed
	Look   func(name string) (string, error)   // finds a program
	Loader func() ([]bootloader.Found, error)  // detects the boot loaders
	Choose func(founds []bootloader.Found, name string) (bootloader.Loader, error)
	Owner  func(file string) string // the note about the package of a file, "" for none; may be nil
}

// New returns this machine.
func New(root string, store state.Store) *Machine {
	return &Machine{
		Root: root, Store: store, Look: exec.LookPath,
		Run:    func(args []string) ([]byte, error) { return exec.Command(args[0], args[1:]...).CombinedOutput() },
		Loader: func() ([]bootloader.Found, error) { return bootloader.Detect(system(root)) },
		Choose: bootloader.Choose, Owner: owner,
	}
}

// system is the machine as boot loaders see it.
func system(root string) *bootloader.System { return &bootloader.System{Root: root} }

// Options are what the user has chosen.
type Options struct {
	Loader string // its name, "" for the one that started the kernel
	// Crashkernel returns the words for the command line, and why. now are those that the
	// next boot has.
	Crashkernel   func(now []string) (words []string, why string)
	Triggers      []trigger.Choice
	DisableOthers bool // other tools that load a capture kernel
	// OfferKernel returns the size to reserve, in bytes, if CaptureKernel is chosen, or why it
	// cannot be. nil if another kernel is chosen.
	OfferKernel func() (int64, error)
}

// CaptureKernel is the kernel that packaging/capture-kernel installs.
const CaptureKernel = kmod.CaptureKernelDir + "/vmlinuz"

// Plan is what there is and what has to change.
type Plan struct {
	Loader  string               `json:"loader,omitempty"`
	Because string               `json:"because,omitempty"` // that loader
	Entries []bootloader.Entry   `json:"entries"`           // that the next boot can have
	Now     []string             `json:"crashkernel_now"`   // words that it has
	Words   []string             `json:"crashkernel"`       // that it will have
	Why     string               `json:"why"`               // these words
	Files   []bootloader.File    `json:"-"`
	Run     []bootloader.Command `json:"-"`
	Notes   []string             `json:"notes,omitempty"`
	Manual  []string             `json:"manual,omitempty"` // what the user has to do

	loader bootloader.Loader
	byHand bool // the user edits the loader's files
}

// Nothing reports whether nothing has to change.
func (p *Plan) Nothing() bool { return len(p.Files) == 0 && len(p.Run) == 0 }

// Plan looks at the machine and plans the changes. It changes nothing.
func (m *Machine) Plan(o Options) (*Plan, error) {
	p := &Plan{Entries: []bootloader.Entry{}, Now: []string{}}
	if err := m.planLoader(p, o); err != nil {
		return nil, err
	}
	if err := m.planTriggers(p, o.Triggers); err != nil {
		return nil, err
	}
	m.planUnits(p, o.DisableOthers)
	if o.OfferKernel != nil && m.installed(CaptureKernel) {
		p.Notes = append(p.Notes, offer(o.OfferKernel()))
	}
	return p, nil
}

// offer is the note about CaptureKernel.
func offer(size int64, err error) string {
	if err != nil {
		return strings.TrimSpace(fmt.Sprintf("A small capture kernel is installed, but this machine does not take it: %v. %s", err, advice.For(err)))
	}
	return fmt.Sprintf("A small capture kernel is installed. KERNEL=%s in /etc/ukdump.conf lets a capture work in less memory: crashkernel=%dM.", CaptureKernel, size>>20)
}

// planLoader plans the command line of the next boot. A machine whose loader is not known is
// no error: Manual says what is to be done by hand.
func (m *Machine) planLoader(p *Plan, o Options) error {
	founds, err := m.Loader()
	if err != nil && o.Loader == "" {
		p.Words, p.Why = o.Crashkernel(nil)
		p.manual(m.Root, err)
		return nil
	}
	for _, e := range bootloader.FindErrors(err) {
		if e.Loader == o.Loader {
			words, _ := o.Crashkernel(nil)
			return advice.With(e, cmp.Or(advice.For(e), bootloader.ByHand(system(m.Root), e.Loader, words)))
		}
	}
	l, err := m.Choose(founds, o.Loader)
	if err != nil {
		return err
	}
	p.loader, p.Loader = l, l.Name()
	if i := slices.IndexFunc(founds, func(f bootloader.Found) bool { return f.Loader == l.Name() }); i >= 0 {
		p.Because = founds[i].Because
	}
	if p.Entries, err = l.Next(system(m.Root)); err != nil {
		words, _ := o.Crashkernel(nil)
		return fmt.Errorf("%s: read the words of the next boot: %w", l.Name(), bootloader.Advise(system(m.Root), l, words, err))
	}
	if e := first(p.Entries); e != nil {
		p.Now = append(p.Now, bootloader.Of(e.Cmdline, crashkernel)...)
	}
	p.Words, p.Why = o.Crashkernel(p.Now)
	changes, err := bootloader.Prepare(system(m.Root), l, bootloader.Edit{Name: crashkernel, Words: p.Words})
	if err != nil {
		return fmt.Errorf("%s: %w", l.Name(), err)
	}
	p.Files, p.Run, p.Notes = changes.Files, changes.Commands, changes.Notes
	m.noteOwners(p)
	if changes.Manual != "" {
		p.Manual, p.byHand = append(p.Manual, changes.Manual), true
	}
	return nil
}

const crashkernel = "crashkernel"

// first returns the entry that boots next, as far as that is known; nil without entries.
func first(entries []bootloader.Entry) *bootloader.Entry {
	for i := range entries {
		if entries[i].Default {
			return &entries[i]
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return &entries[0]
}

// manual says what to do on a machine whose boot loader is not known.
func (p *Plan) manual(root string, err error) {
	failed := bootloader.FindErrors(err)
	if len(failed) == 0 {
		p.Notes = append(p.Notes, err.Error())
		p.Manual = append(p.Manual, bootloader.ByHand(system(root), "", p.Words))
		return
	}
	var seen []string // several loaders read the same file
	for _, e := range failed {
		if text := e.Err.Error(); !slices.Contains(seen, text) {
			seen = append(seen, text)
			p.Notes = append(p.Notes, e.Error())
		}
	}
	p.Manual = append(p.Manual, cmp.Or(advice.For(failed[0]), bootloader.ByHand(system(root), failed[0].Loader, p.Words)))
}

// Triggers returns the events of an earlier setup, and whether there was one.
func (m *Machine) Triggers() (chosen []trigger.Choice, ok bool) {
	b, err := m.read(SysctlFile)
	if err != nil || b == nil {
		return nil, false
	}
	for line := range strings.Lines(string(b)) {
		for _, c := range trigger.Choices {
			if strings.TrimSpace(line) == c.Line {
				chosen = append(chosen, c)
			}
		}
	}
	return chosen, true
}

// planTriggers plans the file of sysctls, and makes them hold now.
func (m *Machine) planTriggers(p *Plan, chosen []trigger.Choice) error {
	var want []byte
	if len(chosen) > 0 {
		text := "# Written by kdumpctl setup: events that panic, so that the capture kernel saves them.\n"
		for _, c := range chosen {
			text += "\n# " + c.Reason + "\n" + c.Line + "\n"
		}
		want = []byte(text)
	}
	have, err := m.read(SysctlFile)
	if err != nil {
		return err
	}
	if bytes.Equal(have, want) {
		return nil
	}
	p.Files = append(p.Files, bootloader.File{Path: SysctlFile, Old: have, New: want, Mode: 0o644})
	if want == nil {
		return nil // the values stay until the next boot
	}
	c := bootloader.Command{Args: []string{"sysctl", "-q", "-p", SysctlFile}, Why: "makes these events panic now"}
	if _, err := m.Look("sysctl"); err != nil {
		c.Args = []string{"/usr/lib/systemd/systemd-sysctl", SysctlFile}
	}
	c.Undo = m.undoSysctls(chosen)
	p.Run = append(p.Run, c)
	return nil
}

// undoSysctls returns the command that sets the sysctls to the values of now, with the
// program that Look finds: Debian's sysctl(8) is in a package that small systems lack.
func (m *Machine) undoSysctls(chosen []trigger.Choice) []string {
	var settings []string
	var writes []string
	for _, c := range chosen {
		name, _ := c.Sysctl()
		file := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		now, err := m.read(file)
		if value := strings.TrimSpace(string(now)); err == nil && value != "" {
			settings = append(settings, name+"="+value)
			writes = append(writes, "echo "+value+" >"+file)
		}
	}
	if len(settings) == 0 {
		return []string{}
	}
	if _, err := m.Look("sysctl"); err != nil {
		return []string{"sh", "-c", strings.Join(writes, " && ")}
	}
	return append([]string{"sysctl", "-q", "-w"}, settings...)
}

// Units that setup enables.
const loadUnit = "ukdump.service"

func (m *Machine) planUnits(p *Plan, disableOthers bool) {
	if !host.SystemdRuns(m.Root) {
		p.Manual = append(p.Manual, "Run kdumpctl load at each boot: systemd does not run here.")
		return
	}
	if !host.UnitEnabled(m.Root, loadUnit) {
		p.Run = append(p.Run, bootloader.Command{
			Args: []string{"systemctl", "enable", loadUnit}, Undo: []string{"systemctl", "disable", loadUnit},
			Why: "loads the capture kernel at each boot, collects and announces dumps",
		})
	}
	others := host.KdumpTools(m.Root)
	switch {
	case len(others) == 0:
	case disableOthers:
		p.Run = append(p.Run, bootloader.Command{
			Args: append([]string{"systemctl", "disable", "--now"}, others...), Undo: append([]string{"systemctl", "enable"}, others...),
			Why: "they load their own capture kernel over ours",
		})
	default:
		p.Notes = append(p.Notes, strings.Join(others, ", ")+" loads another capture kernel at each boot, perhaps over ours. --disable-others disables it.")
	}
}

// Diffs returns the changes of the files, as diff -u prints them.
func (p *Plan) Diffs() (list []string) {
	for _, f := range p.Files {
		list = append(list, Diff(f.Path, f.Old, f.New))
	}
	return list
}

// Diff returns the difference of two contents of a file, as diff -u prints it. nil is a
// file that is not there.
func Diff(path string, before, after []byte) string {
	name := func(data []byte) string {
		if data == nil {
			return "/dev/null"
		}
		return path
	}
	text := string(diff.Diff(name(before), before, name(after), after))
	_, text, _ = strings.Cut(text, "\n") // the line "diff old new"
	var clean strings.Builder
	for line := range strings.Lines(text) {
		clean.WriteString(cli.Clean(strings.TrimSuffix(line, "\n")) + "\n")
	}
	return clean.String()
}

// installed reports whether a file is there.
func (m *Machine) installed(name string) bool {
	st, err := os.Stat(m.path(name))
	return err == nil && st.Mode().IsRegular()
}

func (m *Machine) path(name string) string { return filepath.Join(m.Root, name) }

package setup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/bootloader"
	"ukdump/internal/cli"
)

// Apply makes the changes of a plan. If one fails, all files are as they were before. say
// gets a line for each step.
func (m *Machine) Apply(p *Plan, say func(format string, a ...any)) error {
	if err := m.possible(p); err != nil {
		return err
	}
	r, err := m.readRecord()
	if err != nil {
		return err
	}
	before := r.clone() // for a failure
	r.Loader = p.Loader
	var made []string
	for i := range p.Files {
		if p.Files[i].New != nil {
			made = append(made, m.missingDirs(p.Files[i].Path)...)
		}
		if err := r.add(m, &p.Files[i]); err != nil {
			return fmt.Errorf("keep a copy of %s: %w", p.Files[i].Path, err)
		}
	}
	for i := range p.Run {
		r.addCommand(&p.Run[i])
	}
	outputs, err := m.outputs(p)
	if err != nil {
		return err
	}
	for _, dir := range made {
		if !slices.Contains(r.Dirs, dir) {
			r.Dirs = append(r.Dirs, dir)
		}
	}
	// What is interrupted from here on can be taken back by --remove.
	if err := m.saveRecord(r); err != nil {
		return fmt.Errorf("record the changes: %w", err)
	}
	if err := m.makeChanges(p, say); err != nil {
		err = errors.Join(err, m.restore(p, outputs), m.saveRecord(before))
		m.removeDirs(made)
		return err
	}
	if err := m.recordOutputs(r, p, outputs); err != nil {
		return fmt.Errorf("record the changes: %w", err)
	}
	if err := m.Check(p); err != nil {
		return advice.With(err, "kdumpctl setup --remove takes the changes back.")
	}
	return nil
}

// recordOutputs notes the files that commands have changed for which there is no command
// that takes that back.
func (m *Machine) recordOutputs(r *record, p *Plan, outputs map[string][]byte) error {
	for _, c := range p.Run {
		if !slices.Equal(c.Undo, []string{"true"}) {
			continue
		}
		names, err := m.matching(c.Writes)
		if err != nil {
			return err
		}
		for _, name := range names {
			before, known := outputs[name]
			now, err := m.read(name)
			if err != nil || !known || same(before, now) {
				continue
			}
			if err := r.add(m, &bootloader.File{Path: name, Old: before, New: now}); err != nil {
				return err
			}
		}
	}
	return m.saveRecord(r)
}

// matching returns the files of at most maxFile bytes that have one of the patterns.
func (m *Machine) matching(patterns []string) (names []string, err error) {
	for _, pattern := range patterns {
		found, err := filepath.Glob(m.path(pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			if fi, err := os.Stat(name); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxFile {
				continue // made again by the command
			}
			names = append(names, strings.TrimPrefix(name, strings.TrimSuffix(m.Root, "/")))
		}
	}
	return names, nil
}

// possible returns the reason why the plan cannot be carried out, before anything is.
func (m *Machine) possible(p *Plan) error {
	if err := m.unchanged(p.Files); err != nil {
		return err
	}
	for _, f := range p.Files {
		if err := m.writable(f.Path); err != nil {
			return err
		}
	}
	for _, c := range p.Run {
		for _, pattern := range c.Writes {
			if err := m.writable(pattern); err != nil {
				return err
			}
		}
		if strings.HasPrefix(c.Args[0], "/") && m.exists(c.Args[0]) {
			continue
		}
		if _, err := m.Look(c.Args[0]); err != nil {
			return advice.With(fmt.Errorf("%s is not installed: nothing would make the changes take effect", c.Args[0]), "Install it.")
		}
	}
	return nil
}

// outputs reads the files that the commands of a plan write, by path. A file that is named
// and not there is nil.
func (m *Machine) outputs(p *Plan) (map[string][]byte, error) {
	outputs := map[string][]byte{}
	for _, c := range p.Run {
		for _, pattern := range c.Writes {
			names, err := m.matching([]string{pattern})
			if err != nil {
				return nil, err
			}
			if len(names) == 0 && !strings.ContainsAny(pattern, `*?[\`) && !m.exists(pattern) {
				outputs[pattern] = nil
			}
			for _, name := range names {
				if outputs[name], err = m.read(name); err != nil {
					return nil, err
				}
			}
		}
	}
	return outputs, nil
}

func (m *Machine) makeChanges(p *Plan, say func(format string, a ...any)) error {
	for _, f := range p.Files {
		if err := m.write(f.Path, f.New, f.Mode); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		if f.New == nil {
			say("removed %s", f.Path)
			continue
		}
		say("wrote %s", f.Path)
	}
	for _, c := range p.Run {
		say("running %s", strings.Join(c.Args, " "))
		if err := m.command(c.Args); err != nil {
			return err
		}
	}
	return nil
}

// command runs a command. Its error has the end of what it printed.
func (m *Machine) command(args []string) error {
	out, err := m.Run(args)
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	if text != "" {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, cli.Text(text, 300))
	}
	return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
}

// restore undoes as much of the plan as was done: files, and what the commands wrote.
func (m *Machine) restore(p *Plan, outputs map[string][]byte) error {
	var errs []error
	put := func(name string, data []byte) {
		now, err := m.read(name)
		if err == nil && !same(now, data) {
			err = m.write(name, data, 0)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %w", name, err))
		}
	}
	for _, f := range p.Files {
		put(f.Path, f.Old)
	}
	for name, data := range outputs {
		put(name, data)
	}
	return errors.Join(errs...)
}

// Check reads back what the next boot will use.
func (m *Machine) Check(p *Plan) error {
	if p.loader == nil || p.byHand {
		return nil
	}
	entries, err := p.loader.Next(system(m.Root))
	if err != nil {
		return fmt.Errorf("the changes are made; read the words of the next boot: %w", err)
	}
	p.Entries = entries
	return Wrong(entries, p.Words)
}

// Wrong returns an error that names the entries that can boot next and do not have exactly
// these words for crashkernel=. If a default is known, it alone counts.
func Wrong(entries []bootloader.Entry, words []string) error {
	counted := bootloader.Counted(entries)
	if len(counted) == 0 {
		return errors.New("the boot loader has no entries")
	}
	right := 0
	var wrong []string
	for _, e := range counted {
		if slices.Equal(bootloader.Of(e.Cmdline, crashkernel), words) {
			right++
			continue
		}
		wrong = append(wrong, cli.Text(e.Title, 100)+" ("+e.Source+")")
	}
	if len(wrong) == 0 || right > 0 && !counted[0].Default {
		return nil
	}
	what := "without crashkernel="
	if len(words) > 0 {
		what = "with " + strings.Join(words, " ")
	}
	return fmt.Errorf("the next boot is not %s: %s", what, strings.Join(wrong, ", "))
}

// ErrNothingToRemove says that setup has changed nothing.
var ErrNothingToRemove = errors.New("setup has changed nothing on this machine")

// Changed is a file that somebody changed after setup.
type Changed struct {
	Path string
	Diff string // from what is there to what was there before setup
}

// Remove takes back what Apply did. Files that somebody else has changed since stay as they
// are and are returned.
func (m *Machine) Remove(say func(format string, a ...any)) ([]Changed, error) {
	r, err := m.readRecord()
	if err != nil {
		return nil, err
	}
	if len(r.Files) == 0 && len(r.Commands) == 0 {
		return nil, ErrNothingToRemove
	}
	var left []Changed
	var errs []error
	rest := &record{Version: 1, Loader: r.Loader}
	for _, f := range r.Files {
		c, err := m.removeFile(&f, say)
		switch {
		case err != nil:
			errs = append(errs, err)
			rest.Files = append(rest.Files, f)
		case c != nil:
			left = append(left, *c)
			rest.Files = append(rest.Files, f)
		}
	}
	// Somebody else may have put files there.
	if dirs := m.removeDirs(r.Dirs); len(rest.Files) > 0 {
		rest.Dirs = dirs
	}
	for _, c := range slices.Backward(r.Commands) {
		undo := c.Undo
		if undo == nil {
			undo = c.Args
		}
		if len(undo) == 0 {
			continue
		}
		say("running %s", strings.Join(undo, " "))
		if err := m.command(undo); err != nil {
			errs = append(errs, err)
			rest.Commands = append([]undoEntry{c}, rest.Commands...)
		}
	}
	if len(rest.Files) == 0 && len(rest.Commands) == 0 {
		return left, errors.Join(append(errs, m.dropRecord())...)
	}
	return left, errors.Join(append(errs, m.saveRecord(rest))...)
}

// removeFile restores a file. It returns the difference if somebody has changed it.
func (m *Machine) removeFile(f *recorded, say func(format string, a ...any)) (*Changed, error) {
	now, err := m.read(f.Path)
	if err != nil {
		return nil, err
	}
	if id(now) == f.Before {
		return nil, nil
	}
	before, err := m.kept(f.Before)
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", f.Path, err)
	}
	if id(now) != f.After {
		return &Changed{f.Path, Diff(f.Path, now, before)}, nil
	}
	if err := m.write(f.Path, before, f.Mode); err != nil {
		return nil, fmt.Errorf("restore %s: %w", f.Path, err)
	}
	if before == nil {
		say("removed %s", f.Path)
	} else {
		say("restored %s", f.Path)
	}
	return nil, nil
}

package bootloader

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ostree is a system of OSTree, with rpm-ostree or bootc. The command line is a part of each
// deployment and is changed by commands only.
type ostree struct{}

func (ostree) Name() string { return "ostree" }

const (
	// ostreeStaged is the deployment that the shutdown finishes, and of which the entries
	// below /boot thus know nothing: an a{sv} (ostree_sysroot_stage_tree_with_options).
	ostreeStaged       = "/run/ostree/staged-deployment"
	ostreeStagedLocked = "/run/ostree/staged-deployment-locked" // or "locked" in it: not finished

	ostreeEntries = "/boot/loader/entries"
	ostreeSource  = "kdump" // the owner of the words, for bootc
)

func (ostree) Find(s *System) (*Found, error) {
	if !s.exists("/run/ostree-booted") { // made by ostree-prepare-root(1)
		return nil, nil
	}
	found := &Found{Loader: "ostree", Booted: Yes, Because: "/run/ostree-booted exists"}
	for _, program := range []string{"rpm-ostree", "bootc", "ostree"} {
		if p := s.program(program); p != "" {
			found.Files = append(found.Files, p)
		}
	}
	return found, nil
}

// An ostreeEntry is an entry that OSTree has written.
type ostreeEntry struct {
	Entry
	version int    // the highest boots
	owned   string // options that bootc knows to be ours
}

// ostreeBoot reads the entries, the one that boots next first.
func (s *System) ostreeBoot() ([]ostreeEntry, error) {
	names, err := s.matching(ostreeEntries, "*.conf")
	if err != nil {
		return nil, err
	}
	var entries []ostreeEntry
	for _, name := range names {
		t, err := s.textFile(name)
		if err != nil {
			return nil, err
		}
		if e := readOstreeEntry(t); len(Of(e.Cmdline, "ostree")) > 0 {
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(a, b ostreeEntry) int { return b.version - a.version })
	staged, err := s.ostreeStaged(entries)
	if err != nil {
		return nil, err
	}
	entries = append(staged, entries...)
	if len(entries) > 0 {
		entries[0].Default = true
	}
	return entries, nil
}

// readOstreeEntry reads an entry of the Boot Loader Specification.
func readOstreeEntry(t *textFile) ostreeEntry {
	e := ostreeEntry{Entry: Entry{Source: t.name}}
	var options []string
	for i := range t.lines {
		key, value, _ := cutKeyword(t.text(i))
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			e.Title = value
		case "version":
			e.version, _ = strconv.Atoi(value)
		case "options":
			options = append(options, value)
		case "x-options-source-" + ostreeSource:
			e.owned = value
		}
	}
	e.Cmdline = strings.Join(options, " ")
	return e
}

// ostreeStaged returns the staged deployment if there is one that the shutdown finishes.
// Without arguments of its own it gets those of the deployment before it.
func (s *System) ostreeStaged(entries []ostreeEntry) ([]ostreeEntry, error) {
	data, err := s.readOptional(ostreeStaged)
	if err != nil || data == nil || s.exists(ostreeStagedLocked) {
		return nil, err
	}
	dict, err := gvariantDict(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ostreeStaged, err)
	}
	if dict["locked"].bool() {
		return nil, nil
	}
	e := ostreeEntry{Entry: Entry{Title: "staged deployment", Source: ostreeStaged}}
	if len(entries) > 0 {
		e.Cmdline, e.owned = entries[0].Cmdline, entries[0].owned
	}
	if kargs, ok := dict["kargs"]; ok {
		words, err := kargs.strings()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ostreeStaged, err)
		}
		e.Cmdline = strings.Join(words, " ")
	}
	return []ostreeEntry{e}, nil
}

func (ostree) Next(s *System) ([]Entry, error) {
	found, err := s.ostreeBoot()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, e := range found {
		entries = append(entries, e.Entry)
	}
	return entries, nil
}

func (ostree) Plan(s *System, e Edit) (*Plan, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	entries, err := s.ostreeBoot()
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s has no entry of OSTree", ostreeEntries)
	}
	next := entries[0]
	old := Of(next.Cmdline, e.Name)
	gone := difference(old, e.Words)
	added := difference(e.Words, old)
	if len(gone)+len(added) == 0 {
		return new(Plan), nil
	}
	if program := s.program("rpm-ostree"); program != "" {
		return &Plan{Commands: []Command{{
			Args: rpmOstree(program, gone, added),
			Undo: rpmOstree(program, added, gone),
			Why:  "makes a deployment with another command line, which the next boot takes",
		}}}, nil
	}
	if program := s.program("bootc"); program != "" {
		return s.planBootc(program, e, next, gone), nil
	}
	var args []string
	for _, w := range gone {
		args = append(args, "--karg-delete="+w)
	}
	for _, w := range added {
		args = append(args, "--karg-append="+w)
	}
	note := ""
	if len(gone) > 1 { // it takes the option once
		note = "; for each further --karg-delete run it again"
	}
	return &Plan{Manual: "Neither rpm-ostree nor bootc is installed. Run, with the ref that \"ostree admin status\" shows" + note + ": " +
		"ostree admin deploy " + strings.Join(args, " ") + " REF"}, nil
}

// difference returns the words that are not in others, each once.
func difference(words, others []string) []string {
	var left []string
	for _, w := range words {
		if !slices.Contains(others, w) && !slices.Contains(left, w) {
			left = append(left, w)
		}
	}
	return left
}

// rpmOstree is the command that replaces words. --append-if-missing is no use: with a second
// crashkernel= it does nothing, as it looks for the name alone (ostree_kernel_args_contains).
func rpmOstree(program string, gone, added []string) []string {
	args := []string{program, "kargs"}
	for _, w := range gone {
		args = append(args, "--delete="+w)
	}
	for _, w := range added {
		args = append(args, "--append="+w)
	}
	return args
}

// planBootc has bootc keep the words as those of a source of options, which it can since
// 2026. Words from another source, such as the installation or the image, stay.
func (s *System) planBootc(program string, e Edit, next ostreeEntry, gone []string) *Plan {
	others := difference(gone, Words(next.owned))
	if len(others) > 0 || !s.contains(program, "set-options-for-source") {
		return bootcByHand(e, gone)
	}
	command := func(options string) []string {
		args := []string{program, "loader-entries", "set-options-for-source", "--source", ostreeSource}
		if options != "" {
			args = append(args, "--options", options)
		}
		return args
	}
	return &Plan{Commands: []Command{{
		Args: command(strings.TrimSpace(e.Apply(next.owned))),
		Undo: command(next.owned),
		Why:  "makes a deployment with another command line, which the next boot takes",
	}}}
}

// bootcByHand has the user change the image.
func bootcByHand(e Edit, gone []string) *Plan {
	const rebuild = "rebuild the image, and run \"bootc upgrade\""
	var text []string
	if len(gone) > 0 {
		text = append(text, fmt.Sprintf("bootc cannot remove %s from the command line of this machine. Remove it from /usr/lib/bootc/kargs.d of the image, "+
			"or from the options of the installation, %s.", strings.Join(gone, " "), rebuild))
	}
	if len(e.Words) > 0 {
		var list []string
		for _, w := range e.Words {
			list = append(list, strconv.Quote(w))
		}
		text = append(text, fmt.Sprintf("Put this into /usr/lib/bootc/kargs.d/10-kdump.toml of the image, %s:\nkargs = [%s]", rebuild, strings.Join(list, ", ")))
	}
	return &Plan{Manual: strings.Join(text, "\n")}
}

// maxProgram bounds a program that is searched for a text, in bytes. bootc has about 20 MiB.
const maxProgram = 128 << 20

// contains reports whether a program has a text in it, such as the name of a subcommand.
func (s *System) contains(name, text string) bool {
	file, err := s.file(name)
	if err != nil {
		return false
	}
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	r := io.LimitReader(f, maxProgram)
	buf := make([]byte, 0, 1<<20)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if strings.Contains(string(buf), text) {
			return true
		}
		if err != nil {
			return false
		}
		// The text can begin in this part and end in the next.
		buf = buf[:copy(buf, buf[len(buf)-len(text):])]
	}
}

package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"ukdump/internal/advice"
)

// Options are module parameters as they were configured, by module.
type Options map[string][]string

// optionDirs are the directories of modprobe.d(5), the first to win when two
// files have the same name.
var optionDirs = []string{
	"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d",
}

// ReadOptions returns the "options" lines of modprobe.d(5) below root. Other lines
// (install, blacklist, …) are skipped, as ukdump chooses modules itself. So are
// damaged lines, as by modprobe(8). An existing file that cannot be read is an error.
func ReadOptions(root fs.FS) (Options, error) {
	files := make(map[string]string)
	for _, dir := range optionDirs {
		entries, err := fs.ReadDir(root, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, optionsError(err)
		}
		for _, e := range entries {
			name := e.Name()
			if _, ok := files[name]; !ok && path.Ext(name) == ".conf" && !e.IsDir() {
				files[name] = path.Join(dir, name)
			}
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	o := make(Options)
	for _, name := range names {
		data, err := fs.ReadFile(root, files[name])
		// A broken link and a link to a directory count as no file, a link to
		// /dev/null as an empty one.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EISDIR) {
			continue
		}
		if err != nil {
			return nil, optionsError(err)
		}
		o.addFile(string(data))
	}
	return o, nil
}

// optionsError returns the error about a file or directory that cannot be read.
func optionsError(err error) error {
	err = fmt.Errorf("read module options: %w", err)
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return advice.With(err, "Correct or remove it: see modprobe.d(5).")
}

// addFile adds the "options MODULE PARAMETER…" lines of one file. A backslash
// at the end of a line continues it.
func (o Options) addFile(data string) {
	data = strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\\\n", " ")
	for line := range strings.Lines(data) {
		w := strings.Fields(line)
		if len(w) > 2 && w[0] == "options" {
			name := normalise(w[1])
			for _, param := range w[2:] {
				if !strings.ContainsFunc(param, unicode.IsControl) { // the kernel would refuse the module
					o[name] = append(o[name], param)
				}
			}
		}
	}
}

// AddCommandLine adds the module parameters on a kernel's command line, which are
// those of the form MODULE.PARAMETER=VALUE (kernel-parameters.rst). They come last and
// override the files.
func (o Options) AddCommandLine(line string) {
	for _, w := range splitCommandLine(line) {
		if w == "--" { // the rest is for init
			return
		}
		key, _, _ := strings.Cut(w, "=")
		if module, _, ok := strings.Cut(key, "."); ok && module != "" {
			name := normalise(module)
			o[name] = append(o[name], w[len(module)+1:])
		}
	}
}

// splitCommandLine cuts line at blanks outside of double quotes. Quotes around a whole
// word are removed, others stay for the module's own parser.
func splitCommandLine(line string) []string {
	var words []string
	quoted := false
	for _, w := range strings.FieldsFunc(line, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return !quoted && (c == ' ' || c == '\t' || c == '\n')
	}) {
		if strings.HasPrefix(w, `"`) {
			// "module.key=a b" is module.key="a b" to the kernel.
			w = strings.Trim(w, `"`)
			if key, value, ok := strings.Cut(w, "="); ok && strings.ContainsAny(value, " \t") {
				w = key + `="` + value + `"`
			}
		}
		if w != "" {
			words = append(words, w)
		}
	}
	return words
}

// Params returns the parameters of a module as finit_module(2) takes them:
// "a=1 b=2", or "".
func (o Options) Params(module string) string {
	return strings.Join(o[normalise(module)], " ")
}

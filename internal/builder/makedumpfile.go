package builder

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/host"
	"ukdump/internal/plan"
)

// makedumpfilePath is where makedumpfile lies in the image.
const makedumpfilePath = "bin/makedumpfile"

// makedumpfileDirs is where distributions install it.
var makedumpfileDirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/run/current-system/sw/bin"}

// makedumpfile is an installed makedumpfile and what it can do.
type makedumpfile struct {
	path     string
	version  string // "1.7.2"
	compress []string
	limits   bool // it has -L, which bounds the size of the output
}

// errNoMakedumpfile is the error of a machine without makedumpfile.
type errNoMakedumpfile struct{ looked []string }

func (e *errNoMakedumpfile) Error() string {
	return "makedumpfile: not found in " + strings.Join(e.looked, " ")
}

// Advice returns what to do about a missing makedumpfile.
func (e *errNoMakedumpfile) Advice() string {
	return "Install makedumpfile: Debian and Fedora have a package of that name, Arch has it in the AUR."
}

// findMakedumpfile finds makedumpfile on the machine and which compression it was
// built with: that differs between distributions and releases.
func findMakedumpfile(h *host.Host) (*makedumpfile, error) {
	m := new(makedumpfile)
	for _, d := range makedumpfileDirs {
		p := filepath.Join(d, "makedumpfile")
		if isFile(h, p) {
			m.path = p
			break
		}
	}
	if m.path == "" {
		return nil, &errNoMakedumpfile{looked: makedumpfileDirs}
	}
	program, err := h.ReadFile(m.path)
	if err != nil {
		return nil, err
	}
	m.parseVersion(program)
	if m.version == "" {
		return nil, fmt.Errorf("%s: it contains no version: is it makedumpfile?", m.path)
	}
	return m, nil
}

// What makedumpfile -v prints are constant strings of the program
// (show_version in print_info.c), so that there is no need to run it: it may be
// for another machine.
var (
	versionText  = regexp.MustCompile(`makedumpfile: version (\S{1,32}) \(`)
	featureTexts = regexp.MustCompile(`(lzo|snappy|zstd)\tenabled\n`)
	limitText    = regexp.MustCompile(`\[-L SIZE\]`) // of print_usage
)

// parseVersion finds in the program what makedumpfile -v and -h print.
func (m *makedumpfile) parseVersion(program []byte) {
	if v := versionText.FindSubmatch(program); v != nil {
		m.version = string(v[1])
	}
	m.limits = limitText.Match(program)
	m.compress = []string{"none", "zlib"} // not optional
	for _, f := range featureTexts.FindAllSubmatch(program, -1) {
		m.compress = append(m.compress, string(f[1]))
	}
}

// compressFlags are makedumpfile's options for each compression.
var compressFlags = map[string][]string{"zlib": {"-c"}, "lzo": {"-l"}, "snappy": {"-p"}, "zstd": {"-z"}, "none": nil}

// choose returns the compression to use: the wanted one, or for auto the best
// that this makedumpfile has. lzo comes before zlib, which is several times
// slower on the one processor of a capture kernel.
func (m *makedumpfile) choose(want string) (string, error) {
	if want != "auto" {
		if !slices.Contains(m.compress, want) {
			return "", fmt.Errorf("COMPRESS=%s: %s %s was built without it; it has %s", want, m.path, m.version, strings.Join(m.compress, ", "))
		}
		return want, nil
	}
	for _, c := range []string{"zstd", "lzo", "snappy"} {
		if slices.Contains(m.compress, c) {
			return c, nil
		}
	}
	return "zlib", nil
}

// collectors returns the ladder: the configured filter, the same with the
// compression that every makedumpfile has, a filter that needs to know less
// about the kernel, and PID 1's own copy. Excluding nothing but pages of zeros
// works on kernels whose structures this makedumpfile does not know.
func (m *makedumpfile) collectors(level int, compress string) ([]plan.Collector, error) {
	flags, ok := compressFlags[compress]
	if !ok {
		return nil, errors.New("unknown compression " + compress)
	}
	list := []plan.Collector{m.collector(level, flags)}
	if compress != "zlib" && compress != "none" {
		list = append(list, m.collector(level, compressFlags["zlib"]))
	}
	if level > 1 {
		list = append(list, m.collector(1, flags))
	}
	return append(list, plan.Collector{Name: "copy", Argv: plan.CopyArgv, Stream: plan.CopyStream, Resumes: true}), nil
}

// collector returns one rung of the ladder.
func (m *makedumpfile) collector(level int, compress []string) plan.Collector {
	const program = "/" + makedumpfilePath
	options := slices.Concat(compress, []string{"-d", strconv.Itoa(level)})
	var limit []string
	if m.limits {
		limit = []string{"-L", plan.LimitArg}
	}
	return plan.Collector{
		Name:    "makedumpfile " + strings.Join(options, " "),
		Argv:    slices.Concat([]string{program}, options, limit, []string{plan.VmcoreArg, plan.OutputArg}),
		Stream:  slices.Concat([]string{program, "-F"}, options, []string{plan.VmcoreArg}),
		Filters: level > 1,
	}
}

package build

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/host"
	"ukdump/internal/plan"
)

// makedumpfilePath is where makedumpfile lies in the image.
const makedumpfilePath = "bin/makedumpfile"

// makedumpfileDirs is where distributions install it.
var makedumpfileDirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"}

// makedumpfile is an installed makedumpfile and what it can do.
type makedumpfile struct {
	path     string
	version  string // "1.7.2"
	compress []string
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

// findMakedumpfile finds makedumpfile on the machine and asks it which compression
// it was built with: that differs between distributions and releases.
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
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	file, err := h.File(m.path)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, file, "-v").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ask %s -v what it supports: %w%s", file, err, firstLine(out))
	}
	m.parseVersion(string(out))
	if m.version == "" {
		return nil, fmt.Errorf("%s -v did not print a version: is it makedumpfile?%s", file, firstLine(out))
	}
	return m, nil
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return ""
	}
	return ": " + line
}

var (
	versionLine  = regexp.MustCompile(`(?m)^makedumpfile: version (\S+)`)
	featureLines = regexp.MustCompile(`(?m)^(lzo|snappy|zstd)\s+enabled`)
)

// parseVersion reads the output of makedumpfile -v.
func (m *makedumpfile) parseVersion(out string) {
	if v := versionLine.FindStringSubmatch(out); v != nil {
		m.version = v[1]
	}
	m.compress = []string{"none", "zlib"} // not optional
	for _, f := range featureLines.FindAllStringSubmatch(out, -1) {
		m.compress = append(m.compress, f[1])
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

// collectors returns the ladder: the configured filter, and then one that needs
// to know less about the kernel. Excluding nothing but pages of zeros works on
// kernels whose structures this makedumpfile does not know.
func (m *makedumpfile) collectors(level int, compress string) ([]plan.Collector, error) {
	flags, ok := compressFlags[compress]
	if !ok {
		return nil, errors.New("unknown compression " + compress)
	}
	levels := []int{level}
	if level > 1 {
		levels = append(levels, 1)
	}
	var list []plan.Collector
	for _, l := range levels {
		d := strconv.Itoa(l)
		argv := append([]string{"/" + makedumpfilePath}, flags...)
		argv = append(argv, "-d", d, plan.VmcoreArg, plan.OutputArg)
		list = append(list, plan.Collector{Name: "makedumpfile " + strings.Join(argv[1:len(argv)-2], " "), Argv: argv})
	}
	return list, nil
}

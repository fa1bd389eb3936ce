package builder

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/host"
	"ukdump/internal/makedumpfile"
	"ukdump/internal/plan"
)

// makedumpfilePath is where makedumpfile lies in the image.
const makedumpfilePath = "bin/makedumpfile"

// makedumpfileDirs is where distributions install it.
var makedumpfileDirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/run/current-system/sw/bin"}

// findMakedumpfile finds makedumpfile on the machine and which compression it was
// built with: that differs between distributions and releases.
func findMakedumpfile(h *host.Host) (*makedumpfile.Program, error) {
	var wrong error // with the first file that is no makedumpfile: a later one may be
	for _, dir := range makedumpfileDirs {
		path := filepath.Join(dir, "makedumpfile")
		if !isFile(h, path) {
			continue
		}
		file, err := h.ReadFile(path)
		if err != nil {
			return nil, err
		}
		m := makedumpfile.Parse(file)
		if m.Path = path; m.Version != "" {
			return &m, nil
		}
		if wrong == nil {
			wrong = notMakedumpfile(path, file)
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return nil, advice.With(errors.New("makedumpfile: not found in "+strings.Join(makedumpfileDirs, " ")),
		"Install makedumpfile: Debian and Fedora have a package of that name, Arch has it in the AUR.")
}

// notMakedumpfile returns the error for a file without a version.
func notMakedumpfile(path string, file []byte) error {
	if bytes.HasPrefix(file, []byte("#!")) {
		return advice.With(fmt.Errorf("%s: a script, not makedumpfile", path),
			"Copy the program that the script starts to /usr/local/sbin/makedumpfile: the image needs the program itself.")
	}
	return advice.With(fmt.Errorf("%s: not makedumpfile: no version found in the file", path),
		"Install makedumpfile again, or copy the program that this file starts to /usr/local/sbin/makedumpfile.")
}

// collectors returns the ladder: the configured filter, the same filter with the
// compression that every makedumpfile has, one that leaves out zero pages only,
// and PID 1's own copy. Leaving out zero pages works on kernels whose structures
// this makedumpfile does not know. If the level or the compression could be quicker, a
// rung with that is the last, for a machine that has no time for the others.
func collectors(m *makedumpfile.Program, level, quick int, compress string) ([]plan.Collector, error) {
	options, ok := makedumpfile.Options(compress)
	if !ok {
		return nil, errors.New("unknown compression " + compress)
	}
	list := []plan.Collector{collector(m, level, options)}
	if compress != "zlib" && compress != "none" {
		zlib, _ := makedumpfile.Options("zlib")
		list = append(list, collector(m, level, zlib))
	}
	if level > 1 {
		list = append(list, collector(m, 1, options))
	}
	list = append(list, plan.Collector{Name: "copy", Argv: plan.CopyArgv, Stream: plan.CopyStream, Resumes: true})
	if fast := quickest(m, compress); level != quick || fast != compress {
		options, _ := makedumpfile.Options(fast)
		last := collector(m, quick, options)
		last.Quick = true
		list = append(list, last)
	}
	return list, nil
}

// quickest returns the fastest compression of m: the configured one, unless another is
// faster.
func quickest(m *makedumpfile.Program, compress string) string {
	fast, err := m.Choose("auto", false)
	if err != nil || compress == "none" || compress == "snappy" {
		return compress // no slower than lzo
	}
	return fast
}

// collector returns one rung of the ladder.
func collector(m *makedumpfile.Program, level int, compress []string) plan.Collector {
	const program = "/" + makedumpfilePath
	options := slices.Concat(compress, []string{"-d", strconv.Itoa(level)})
	var limit []string
	if m.Limits {
		limit = []string{"-L", plan.LimitArg}
	}
	return plan.Collector{
		Name:    "makedumpfile " + strings.Join(options, " "),
		Argv:    slices.Concat([]string{program}, options, limit, []string{plan.VmcoreArg, plan.OutputArg}),
		Stream:  slices.Concat([]string{program, "-F"}, options, []string{plan.VmcoreArg}),
		Filters: level > 1,
	}
}

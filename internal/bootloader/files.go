package bootloader

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"ukdump/internal/crashdir"
	"ukdump/internal/host"
)

// maxText bounds a text file of a loader, in bytes. The largest are generated: a grub.cfg
// with a hundred kernels has less than 1 MiB.
const maxText = 8 << 20

// host returns the machine, below whose root links are resolved.
func (s *System) host() (*host.Host, error) {
	if s.Root == "" {
		return host.Open("/")
	}
	return host.Open(s.Root)
}

// file returns the path by which this process reaches the machine's file name, with links
// resolved inside the root.
func (s *System) file(name string) (string, error) {
	h, err := s.host()
	if err != nil {
		return "", err
	}
	return h.File(name)
}

// real returns the machine's name of a file without links: a plan that replaces files must
// not replace links.
func (s *System) real(name string) (string, error) {
	h, err := s.host()
	if err != nil {
		return "", err
	}
	file, err := h.File(name)
	if err != nil {
		return "", err
	}
	return h.Inside(file), nil
}

// read returns the content of the machine's file name, a regular file of at most maxText
// bytes.
func (s *System) read(name string) ([]byte, error) {
	file, err := s.file(name)
	if err != nil {
		return nil, err
	}
	data, err := crashdir.ReadFile(file, maxText)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: crashdir.WithoutPath(err)}
	}
	return data, nil
}

// readOptional is read, but a file that is not there is nil.
func (s *System) readOptional(name string) ([]byte, error) {
	data, err := s.read(name)
	if absent(err) {
		return nil, nil
	}
	if data == nil && err == nil {
		data = []byte{}
	}
	return data, err
}

// absent reports whether err says that a file is not there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// readText is read for files that lines are edited in. Zero bytes are an error: they are
// in UTF-16 and in files that a crash has left.
func (s *System) readText(name string) ([]byte, error) {
	data, err := s.read(name)
	if err != nil {
		return nil, err
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, broken(lineError(name, 1+bytes.Count(data[:i], []byte("\n")), "a zero byte: not a text file"))
	}
	return data, nil
}

// lineError is an error at a line of a file, both as on the machine.
func lineError(name string, line int, text string) error {
	return fmt.Errorf("%s:%d: %s", name, line, text)
}

// exists reports whether the machine has a file or directory of that name.
func (s *System) exists(name string) bool {
	_, err := s.stat(name)
	return err == nil
}

func (s *System) stat(name string) (fs.FileInfo, error) {
	file, err := s.file(name)
	if err != nil {
		return nil, err
	}
	return os.Stat(file)
}

// names lists a directory of the machine, sorted. A directory that is not there is empty.
func (s *System) names(dir string) ([]string, error) {
	file, err := s.file(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(file)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: dir, Err: crashdir.WithoutPath(err)}
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// matching lists the files of a directory whose names match a pattern of path.Match, as
// paths on the machine, sorted.
func (s *System) matching(dir, pattern string) ([]string, error) {
	names, err := s.names(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range names {
		if ok, _ := path.Match(pattern, name); ok {
			found = append(found, path.Join(dir, name))
		}
	}
	return found, nil
}

// programDirs is where programs are that root runs, in the order of Debian's $PATH.
var programDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// program returns the path of the first of the programs that is installed, "" if none is.
func (s *System) program(names ...string) string {
	for _, name := range names {
		for _, dir := range programDirs {
			p := path.Join(dir, name)
			if info, err := s.stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return p
			}
		}
	}
	return ""
}

// change returns the file of a plan that gives name the new content, and false if it has
// it. old is nil if the file is not there; it is then created with mode 0644.
func (s *System) change(name string, old, content []byte) (File, bool, error) {
	if old != nil && content != nil && bytes.Equal(old, content) || old == nil && content == nil {
		return File{}, false, nil
	}
	real, err := s.real(name)
	if err != nil {
		return File{}, false, err
	}
	f := File{Path: real, Old: old, New: content, Mode: 0o644}
	if old != nil {
		info, err := s.stat(real)
		if err != nil {
			return File{}, false, err
		}
		f.Mode = info.Mode().Perm()
	}
	return f, true, nil
}

// add puts the change of a file into the plan, if it is one; see change. Two names of one
// file are one change.
func (p *Plan) add(s *System, name string, old, content []byte) error {
	f, changed, err := s.change(name, old, content)
	if err != nil || !changed {
		return err
	}
	if !slices.ContainsFunc(p.Files, func(o File) bool { return o.Path == f.Path }) {
		p.Files = append(p.Files, f)
	}
	return nil
}

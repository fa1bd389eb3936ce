package debian

import (
	"archive/tar"
	"embed"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Payload is a set of files that is unpacked over a machine's root file system
// before its init starts. All of them belong to root.
type Payload struct {
	Trees []string          // directories on the host
	Files map[string]string // path in the guest to content, mode 0755
	// Run is the script that the guest runs with sh -eu: at once with
	// init=Quick, or at multi-user.target with systemd. When it ends, the
	// machine is switched off. Its functions are in /ukdump-test/lib.sh.
	Run string
}

// With returns p with one more file.
func (p Payload) With(name, content string) Payload {
	files := maps.Clone(p.Files)
	if files == nil {
		files = make(map[string]string)
	}
	files[name] = content
	p.Files = files
	return p
}

// Programs of the guest. Every payload has them in /ukdump-test, and the unit
// in systemd's directory.
//
//go:embed guest
var guest embed.FS

func (p Payload) write(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, tree := range p.Trees {
		if err := addTree(w, os.DirFS(tree)); err != nil {
			return err
		}
	}
	programs, err := guest.ReadDir("guest")
	if err != nil {
		return err
	}
	for _, e := range programs {
		b, err := guest.ReadFile("guest/" + e.Name())
		if err != nil {
			return err
		}
		dir := "ukdump-test"
		if path.Ext(e.Name()) == ".service" {
			dir = "etc/systemd/system"
		}
		if err := addFile(w, path.Join(dir, e.Name()), string(b)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		if err := addFile(w, name, p.Files[name]); err != nil {
			return err
		}
	}
	if err := addFile(w, "ukdump-test/run", p.Run); err != nil {
		return err
	}
	unit := &tar.Header{
		Typeflag: tar.TypeSymlink,
		Name:     "etc/systemd/system/multi-user.target.wants/ukdump-test.service",
		Linkname: "../ukdump-test.service",
	}
	if err := w.WriteHeader(unit); err != nil {
		return err
	}
	return errors.Join(w.Close(), f.Close())
}

func addFile(w *tar.Writer, name, content string) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := io.WriteString(w, content)
	return err
}

func addTree(w *tar.Writer, tree fs.FS) error {
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = fs.ReadLink(tree, name); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// unpack unpacks the directories and regular files of a tar file below dir,
// with their modes. A path that leads out of dir is an error.
func unpack(name, dir string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p := filepath.Clean(h.Name)
		mode := fs.FileMode(h.Mode).Perm()
		switch h.Typeflag {
		case tar.TypeDir:
			// Without w and x for the owner no file could be put into it.
			if err := errors.Join(root.MkdirAll(p, 0o755), root.Chmod(p, mode|0o700)); err != nil {
				return err
			}
		case tar.TypeReg:
			if err := root.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				return err
			}
			out, err := root.OpenFile(p, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			_, err = io.Copy(out, r)
			if err := errors.Join(err, out.Chmod(mode), out.Close()); err != nil {
				return err
			}
		}
	}
}

// Files reads the files of a directory of the host as those of a payload, below the
// directory under.
func Files(under, dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files[path.Join(under, e.Name())] = string(b)
	}
	return files, nil
}

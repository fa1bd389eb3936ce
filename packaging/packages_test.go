// Package packaging tests the packages that "make packages" makes.
package packaging

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"ukdump/internal/builder/buildtest"
)

// packages makes the packages for amd64, once, and returns their directory.
func packages(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("makes packages")
	}
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	if dir == "" {
		t.Skip("nfpm is not in the cache of modules: run make deps")
	}
	return dir
}

// dist is where made makes the packages.
var dist string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "ukdump-packages")
	if err != nil {
		panic(err)
	}
	dist = dir
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// made makes the packages. It returns no directory without a network that is needed.
var made = sync.OnceValues(func() (string, error) {
	list := exec.Command("go", "list", "-deps", ".")
	list.Dir, list.Env = "nfpm", append(os.Environ(), "GOPROXY=off")
	if list.Run() != nil {
		return "", nil
	}
	touchSources()
	cmd := exec.Command("make", "-s", "-C", "..", "packages", "DIST="+dist, "PACKAGE_ARCHS=amd64", "VERSION=1.2.3")
	// This make must not get the flags of a make that runs the test.
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=", "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make packages: %w\n%s", err, out)
	}
	return dist, nil
})

// touchSources looks at the files that become packages, so that go test does not take
// the result of other files from its cache.
func touchSources() {
	for _, dir := range []string{"../cmd", "../internal", "../initramfs", "../docs", "../Makefile", "../LICENSE", "../CHANGELOG.md", "."} {
		filepath.Walk(dir, func(path string, _ os.FileInfo, _ error) error {
			os.Stat(path)
			return nil
		})
	}
}

// open returns the only package that matches a pattern.
func open(t *testing.T, pattern string) *os.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(packages(t), pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %q, %v", pattern, names, err)
	}
	f, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// member is a file in a package.
type member struct {
	tar.Header
	data []byte
}

// untar returns the files of an archive.
func untar(t *testing.T, r io.Reader) (list []member) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, member{*h, data})
	}
}

// deb returns the files of one of the two archives in the deb, see deb(5): control or data.
func deb(t *testing.T, archive string) []member {
	t.Helper()
	r := bufio.NewReader(open(t, "ukdump_1.2.3-1_amd64.deb"))
	if _, err := r.Discard(len("!<arch>\n")); err != nil {
		t.Fatal(err)
	}
	for {
		header := make([]byte, 60) // name 16, time 12, owner 6, group 6, mode 8, size 10, end 2
		if _, err := io.ReadFull(r, header); err != nil {
			t.Fatalf("%s: %v", archive, err)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(header[48:58])), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimRight(string(header[:16]), " /")
		if !strings.HasPrefix(name, archive+".tar") {
			if _, err := r.Discard(int(size + size%2)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var unpacked io.Reader
		switch filepath.Ext(name) {
		case ".gz":
			unpacked, err = gzip.NewReader(io.LimitReader(r, size))
		case ".xz":
			unpacked, err = xz.NewReader(io.LimitReader(r, size))
		default:
			t.Fatalf("unknown archive %s", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		return untar(t, unpacked)
	}
}

// arch returns the files of the Arch package.
func arch(t *testing.T) []member {
	t.Helper()
	r, err := zstd.NewReader(open(t, "ukdump-1.2.3-1-x86_64.pkg.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return untar(t, r)
}

// rpm returns an answer of rpm -q about the rpm.
func rpm(t *testing.T, args ...string) string {
	t.Helper()
	f := open(t, "ukdump-1.2.3-1.x86_64.rpm")
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed: run make deps")
	}
	out, err := exec.Command("rpm", append([]string{"-qp", f.Name()}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The lists in testdata have mode, owner and name of each file and of each directory
// that is of the package alone.
func TestFiles(t *testing.T) {
	for format, list := range map[string]func(*testing.T) []string{
		"deb":  func(t *testing.T) []string { return lines(deb(t, "data")) },
		"arch": func(t *testing.T) []string { return lines(arch(t)) },
		"rpm": func(t *testing.T) []string {
			return strings.Split(strings.TrimSpace(rpm(t, "--qf", `[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]`)), "\n")
		},
	} {
		t.Run(format, func(t *testing.T) {
			got := list(t)
			slices.Sort(got)
			golden := filepath.Join("testdata", format+".txt")
			text := []byte(strings.Join(got, "\n") + "\n")
			if buildtest.Update() {
				if err := os.WriteFile(golden, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(text, want) {
				t.Errorf("got\n%swant\n%s", text, want)
			}
		})
	}
}

// lines describes files as rpm does. Numbers of owners without a name are root's.
func lines(members []member) (list []string) {
	for _, m := range members {
		owner := m.Uname + ":" + m.Gname
		if owner == ":" && m.Uid == 0 && m.Gid == 0 {
			owner = "root:root"
		}
		mode := "-"
		if m.Typeflag == tar.TypeDir {
			mode = "d"
		}
		mode += os.FileMode(m.Mode).Perm().String()[1:]
		list = append(list, fmt.Sprintf("%s %s /%s", mode, owner, strings.Trim(strings.TrimPrefix(m.Name, "./"), "/")))
	}
	return list
}

// All files of an installation are in each package, with the same content.
func TestContent(t *testing.T) {
	root := filepath.Join(packages(t), "build/amd64/root")
	for format, files := range map[string][]member{"deb": deb(t, "data"), "arch": arch(t)} {
		for _, m := range files {
			name := strings.TrimPrefix(m.Name, ".")
			if format == "deb" && strings.HasSuffix(name, "/copyright") {
				name = "usr/share/licenses/ukdump/LICENSE"
			}
			installed, err := os.ReadFile(filepath.Join(root, name))
			if m.Typeflag != tar.TypeReg || err != nil {
				continue // the list of files has those that are not installed
			}
			if !bytes.Equal(m.data, installed) {
				t.Errorf("%s: %s is not the installed one", format, name)
			}
		}
	}
}

// Dependencies and the like, as each format writes them.
func TestControl(t *testing.T) {
	for format, c := range map[string]struct {
		text func(*testing.T) string
		want []string
	}{
		"deb": {
			func(t *testing.T) string { return text(t, deb(t, "control"), "./control") },
			[]string{"Package: ukdump", "Version: 1.2.3-1", "Architecture: amd64", "Section: admin", "Depends: makedumpfile", "Suggests: kexec-tools"},
		},
		"triggers of the deb": {
			func(t *testing.T) string { return text(t, deb(t, "control"), "./triggers") },
			[]string{"interest-noawait /usr/lib/modules", "interest-noawait /lib/modules", "interest-noawait /usr/bin/makedumpfile"},
		},
		"arch": {
			func(t *testing.T) string { return text(t, arch(t), ".PKGINFO") },
			[]string{"pkgname = ukdump", "pkgver = 1.2.3-1", "arch = x86_64", "license = BSD-3-Clause", "depend = makedumpfile", "conflict = kdump-utils"},
		},
		"rpm": {
			func(t *testing.T) string {
				return rpm(t, "--qf", `%{NVRA} %{LICENSE}\n[requires %{REQUIRES}\n][suggests %{SUGGESTS}\n][conflicts %{CONFLICTS}\n]`)
			},
			[]string{"ukdump-1.2.3-1.x86_64 BSD-3-Clause", "requires makedumpfile", "suggests kexec-tools", "conflicts kdump-utils"},
		},
	} {
		t.Run(format, func(t *testing.T) {
			got := strings.Split(c.text(t), "\n")
			for _, line := range c.want {
				if !slices.Contains(got, line) {
					t.Errorf("no %q in\n%s", line, strings.Join(got, "\n"))
				}
			}
		})
	}
}

// text returns the content of a file.
func text(t *testing.T, members []member, name string) string {
	t.Helper()
	i := slices.IndexFunc(members, func(m member) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("no %s", name)
	}
	return string(members[i].data)
}

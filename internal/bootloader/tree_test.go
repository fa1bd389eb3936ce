package bootloader

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// tree makes a machine of files. A name that ends in / is a directory, content that begins
// with "-> " a symbolic link.
func tree(t testing.TB, files map[string]string) *System {
	t.Helper()
	s := &System{Root: t.TempDir()}
	for name, content := range files {
		put(t, s, name, content)
	}
	return s
}

func put(t testing.TB, s *System, name, content string) {
	t.Helper()
	file := filepath.Join(s.Root, name)
	dir := filepath.Dir(file)
	if strings.HasSuffix(name, "/") {
		dir = file
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if dir == file {
		return
	}
	var err error
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		err = os.Symlink(target, file)
	} else {
		err = os.WriteFile(file, []byte(content), mode(name))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// mode has programs executable.
func mode(name string) os.FileMode {
	if strings.Contains(name, "bin/") {
		return 0o755
	}
	return 0o644
}

// write does what a plan says to the files of the machine.
func write(t testing.TB, s *System, p *Plan) {
	t.Helper()
	for _, f := range p.Files {
		file := filepath.Join(s.Root, f.Path)
		if old, err := os.ReadFile(file); string(old) != string(f.Old) || (err == nil) != (f.Old != nil) {
			t.Fatalf("%s has %q (%v), the plan says %q", f.Path, old, err, f.Old)
		}
		if f.New == nil {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if f.Old == nil {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(file, f.New, f.Mode); err != nil {
			t.Fatal(err)
		}
	}
}

func utf16Bytes(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// variable is the content of a file in efivarfs.
func variable(data []byte) string { return "\x06\x00\x00\x00" + string(data) }

// info is a variable of the Boot Loader Interface.
func info(name, text string) (file, content string) {
	return efivars + name + "-" + loaderVendor, variable(utf16Bytes(text))
}

// option is a load option of the firmware.
func option(title, file string) []byte {
	node := func(kind, sub byte, data []byte) []byte {
		b := []byte{kind, sub, 0, 0}
		binary.LittleEndian.PutUint16(b[2:], uint16(4+len(data)))
		return append(b, data...)
	}
	list := node(4, 1, make([]byte, 38)) // the partition
	list = append(list, node(4, 4, utf16Bytes(file))...)
	list = append(list, node(0x7f, 0xff, nil)...)
	b := []byte{1, 0, 0, 0, 0, 0}
	binary.LittleEndian.PutUint16(b[4:], uint16(len(list)))
	b = append(b, utf16Bytes(title)...)
	return append(append(b, list...), "options"...)
}

// bootedBy are the EFI variables of a machine whose firmware started file.
func bootedBy(file string) map[string]string {
	return map[string]string{
		efivars + "BootCurrent-" + globalVendor: variable([]byte{0x0a, 0}),
		efivars + "Boot000A-" + globalVendor:    variable(option("Linux", file)),
	}
}

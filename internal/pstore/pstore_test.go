package pstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var at = time.Date(2026, 11, 22, 23, 4, 5, 0, time.UTC)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// show prints logs as "first record's name+number of records:text".
func show(logs []Log) string {
	var list []string
	for _, l := range logs {
		list = append(list, fmt.Sprintf("%s+%d:%s", filepath.Base(l.Paths[0]), len(l.Paths), strings.ReplaceAll(strings.TrimSuffix(string(l.Text), "\n"), "\n", "/")))
	}
	return strings.Join(list, " ")
}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing", nil, ""},
		// IDs as generic_id makes them: part 1 is the end of the log.
		{"efi", map[string]string{
			"dmesg-efi_pstore-168263062301001": "Panic#1 Part1\nc\nd\n",
			"dmesg-efi_pstore-168263062302001": "Panic#1 Part2\nb\n",
			"dmesg-efi_pstore-168263062303001": "Panic#1 Part3\na",
		}, "dmesg-efi_pstore-168263062303001+3:a/b/c/d"},
		{"more than nine parts", map[string]string{
			"dmesg-efi-168263062302001": "Panic#1 Part2\nx\n",
			"dmesg-efi-168263062310001": "Panic#1 Part10\nw\n",
		}, "dmesg-efi-168263062310001+2:w/x"},
		{"efi, two boots", map[string]string{
			"dmesg-efi-168263062301001": "Panic#1 Part1\na\n",
			"dmesg-efi-168263099901001": "Panic#1 Part1\nb\n",
			"dmesg-efi-168263099902001": "Panic#1 Part2\nc\n",
		}, "dmesg-efi-168263062301001+1:a dmesg-efi-168263099902001+2:c/b"},
		{"erst", map[string]string{
			"dmesg-erst-7163286974713823233": "Panic#2 Part1\nb\n",
			"dmesg-erst-7163286974713823234": "Panic#2 Part2\na\n",
			"dmesg-erst-7263286974713823234": "Panic#2 Part1\nc\n",
		}, "dmesg-erst-7163286974713823234+2:a/b dmesg-erst-7263286974713823234+1:c"},
		{"ramoops, two boots", map[string]string{
			"dmesg-ramoops-0": "Panic#1 Part1\na\n",
			"dmesg-ramoops-1": "Panic#1 Part1\nb\n",
			"dmesg-ramoops-2": "Oops#1 Part1\nc\n",
		}, "dmesg-ramoops-0+1:a dmesg-ramoops-1+1:b dmesg-ramoops-2+1:c"},
		{"without a header", map[string]string{"dmesg-ramoops-0": "a\n", "dmesg-ramoops-1": "Panic#1 Partx\nb"},
			"dmesg-ramoops-0+1:a dmesg-ramoops-1+1:Panic#1 Partx/b"},
		{"archive", map[string]string{
			"1682630623/001/dmesg-efi-168263062301001": "Panic#1 Part1\nb\n",
			"1682630623/001/dmesg-efi-168263062302001": "Panic#1 Part2\na\n",
			"1682630623/001/dmesg.txt":                 "a\nb\n",
			"7163286974713/dmesg-erst-7163286974713":   "Panic#1 Part1\nc\n",
			"a/b/c/dmesg-ramoops-0":                    "too deep",
		}, "dmesg-efi-168263062302001+2:a/b dmesg-erst-7163286974713+1:c"},
		{"the same twice", map[string]string{"dmesg-ramoops-0": "Panic#1 Part1\na\n", "x/dmesg-ramoops-0": "Panic#1 Part1\na\n"}, "dmesg-ramoops-0+1:a"},
		{"other files", map[string]string{"console-ramoops-0": "x", "dmesg-efi-1.enc.z": "x", "dmesg": "x", "dmesg-efi-": "x", "mce-erst-1": "x"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				write(t, filepath.Join(dir, name), text)
			}
			logs, err := Read(dir, dir+"/none")
			if err != nil || show(logs) != tt.want {
				t.Errorf("got %s, %v\nwant %s", show(logs), err, tt.want)
			}
			for _, l := range logs {
				if !l.Time.Equal(at) || !strings.HasPrefix(l.ID(), "pstore-") {
					t.Errorf("time %v, ID %s", l.Time, l.ID())
				}
			}
		})
	}
}

// A log has the same ID wherever it lies.
func TestID(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write(t, a+"/dmesg-efi-168263062301001", "Panic#1 Part1\nx\n")
	write(t, b+"/1682630623/001/dmesg-efi-168263062301001", "Panic#1 Part1\nx\n")
	for _, dirs := range [][]string{{a}, {b}, {a, b}} {
		logs, err := Read(dirs...)
		if err != nil || len(logs) != 1 || logs[0].ID() != "pstore-73cb3858a687a849" {
			t.Errorf("%s, %v", show(logs), err)
			for _, l := range logs {
				t.Log(l.ID())
			}
		}
	}
}

// Other files do no harm to records, and nothing is read without limit.
func TestReadHostile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/dmesg-ramoops-1", "Panic#1 Part1\nx\n")
	write(t, dir+"/secret", "secret")
	if err := os.Symlink(dir+"/secret", dir+"/dmesg-ramoops-2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, dir+"/loop"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/dmesg-ramoops-3", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/dmesg-ramoops-4", 0o700); err != nil {
		t.Fatal(err)
	}
	logs, err := Read(dir)
	if err == nil || show(logs) != "dmesg-ramoops-1+1:x" {
		t.Errorf("got %s, %v", show(logs), err)
	}

	dir = t.TempDir()
	for n := range maxRecords + 10 {
		write(t, fmt.Sprintf("%s/dmesg-ramoops-%04d", dir, n), fmt.Sprint("Panic#1 Part1\n", n))
	}
	if logs, err = Read(dir); err != nil || len(logs) != maxRecords || string(logs[0].Text) != "10\n" {
		t.Errorf("%d logs, %v", len(logs), err)
	}

	dir = t.TempDir()
	for n := range maxTotal/maxRecord + 3 {
		name := fmt.Sprintf("%s/dmesg-ramoops-%04d", dir, n)
		write(t, name, fmt.Sprintln(n))
		if err := os.Truncate(name, 8*maxRecord); err != nil {
			t.Fatal(err)
		}
	}
	logs, err = Read(dir)
	if err == nil || len(logs) != maxTotal/maxRecord || len(logs[0].Text) > maxRecord+1 {
		t.Errorf("%d logs, %v", len(logs), err)
	}
}

func FuzzJoin(f *testing.F) {
	f.Add("dmesg-efi-168263062301001", []byte("Panic#1 Part1\nx\n"), []byte("Panic#1 Part2\nx"))
	f.Add("dmesg-erst-18446744073709551615", []byte("Oops#99999999999999999999 Part99999999999999999999\n"), []byte(""))
	f.Add("dmesg-ramoops-0", []byte("\x1b[31m"), []byte("Panic#1 Part1\n"))
	f.Fuzz(func(t *testing.T, name string, a, b []byte) {
		size := 0
		for _, l := range join([]record{parse(name, a, at), parse(name, b, at)}) {
			size += len(l.Text)
		}
		if size > len(a)+len(b)+2 {
			t.Errorf("%d bytes became %d", len(a)+len(b), size)
		}
	})
}

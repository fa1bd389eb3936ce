package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ukdump/initramfs"
	"ukdump/internal/builder"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/cli"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/kexec"
	"ukdump/internal/load"
	"ukdump/internal/state"
)

// killedRoot names the machine of a process that TestKilled starts to kill it.
const killedRoot = "UKDUMP_TEST_KILLED_ROOT"

// loadUntilKilled is that process: it builds and loads, over and over.
func loadUntilKilled(root string) {
	if err := os.WriteFile(filepath.Join(root, "started"), nil, 0o600); err != nil {
		os.Exit(1)
	}
	for i := 0; ; i++ {
		options := fmt.Sprintf("DUMP_LEVEL=%d\nBOOT_OPTIONS=run%d\n", i%32, i)
		if err := os.WriteFile(filepath.Join(root, conf+".new"), []byte(options), 0o600); err != nil {
			os.Exit(1)
		}
		if err := os.Rename(filepath.Join(root, conf+".new"), filepath.Join(root, conf)); err != nil {
			os.Exit(1)
		}
		var out bytes.Buffer
		c := &ctl{
			Program: &cli.Program{Name: "kdumpctl", Args: []string{"load"}, Stdout: &out, Stderr: &out},
			root:    root, store: state.Store{Root: root}, pid1: filepath.Join(filepath.Dir(root), "kdumpinit"), kexec: kexec.New(root), sleep: time.Sleep,
			keys: cryptkeys.New(root, nil), retry: func(bool) error { return nil },
		}
		c.kexec.FileLoad = func(kernel, initrd int, cmdline string, _ int) error {
			slot := filepath.Join(root, "sys/kernel/kexec_crash_loaded")
			if err := os.WriteFile(slot, []byte("0\n"), 0o600); err != nil {
				return err
			}
			text := "whole " + cmdline
			if err := wholeSet(kernel, initrd); err != nil {
				text = err.Error()
			}
			if err := os.WriteFile(filepath.Join(root, "slot"), []byte(text), 0o600); err != nil {
				return err
			}
			return os.WriteFile(slot, []byte("1\n"), 0o600)
		}
		if status := c.End(c.run()); status != 0 {
			os.WriteFile(filepath.Join(root, "failed"), out.Bytes(), 0o600)
			os.Exit(1)
		}
	}
}

// wholeSet checks the set that the kernel got.
func wholeSet(kernel, initrd int) error {
	k, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", kernel))
	if err != nil {
		return err
	}
	if !bytes.Equal(k, buildtest.Kernel(buildtest.Release)) {
		return fmt.Errorf("a kernel of %d bytes", len(k))
	}
	i, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", initrd))
	if err != nil {
		return err
	}
	_, err = builder.Inspect(initramfs.Open(bytes.NewReader(i)))
	return err
}

// A process that is killed at any moment leaves nothing half-written that is
// loaded later, and nothing that keeps the next one from loading.
func TestKilled(t *testing.T) {
	t.Parallel()
	const kills = 40
	m := newMachine(t)
	const seed = 20261122
	random := rand.New(rand.NewPCG(seed, seed))
	seen := make(map[string]bool) // states in which it was found
	// Where a process gets to in that time is not known.
	for n := 0; n < kills || len(seen) < 3 && n < 10*kills; n++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killedRoot+"="+m.Root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if os.Remove(m.Root+"/started") == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		// One run takes some 20 ms.
		time.Sleep(time.Duration(random.IntN(120)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if b, err := os.ReadFile(m.Root + "/failed"); err == nil {
			t.Fatalf("kill %d: a load after it failed: %s", n, b)
		}
		if b, err := os.ReadFile(m.Root + "/slot"); err == nil && len(b) > 0 && !strings.HasPrefix(string(b), "whole ") {
			t.Fatalf("kill %d: the kernel was given %s", n, b)
		}
		seen[strings.Join(unfinished(t, m.Root), " ")] = true

		// loaded.json is true or absent.
		c := m.ctl()
		if l := c.store.Loaded(); l != nil {
			if slot, err := os.ReadFile(m.Root + "/slot"); err != nil || string(slot) != "whole "+l.Cmdline {
				t.Fatalf("kill %d: loaded.json says %q, loaded is %q, %v", n, l.Cmdline, slot, err)
			}
		}
		// A fallback set, if there is one, is whole.
		if s, kernel, image, err := c.store.Fallback(); err == nil {
			if state.ID(kernel) != s.KernelID || state.ID(image) != s.ImageID {
				t.Fatalf("kill %d: the fallback set is not one set", n)
			}
		} else if err != state.ErrNoFallback {
			t.Fatalf("kill %d: %v", n, err)
		} else if _, err := os.Stat(m.Root + "/" + lastGood + "/set.json"); err == nil {
			t.Fatalf("kill %d: a fallback set is there and was not read", n)
		}
		// An image under its final name is whole.
		if _, err := load.OpenImage(m.Root + "/" + image); err != nil && !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file") {
			t.Fatalf("kill %d: %v", n, err)
		}
	}
	if len(seen) < 3 {
		t.Errorf("the process was killed in these states only, so nothing is proven: %v", seen)
	}
	t.Logf("killed with these files unfinished: %q", keys(seen))

	// The next run loads, and removes files that are too old to be in use.
	old := time.Now().Add(-time.Hour)
	for _, name := range unfinished(t, m.Root) {
		if err := os.Chtimes(m.Root+"/var/lib/ukdump/"+name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	m.Write(conf, "DUMP_LEVEL=31\n")
	if got := m.kdumpctl("load"); got.status != 0 || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
	if left := unfinished(t, m.Root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// unfinished returns the temporary files below the state directory.
func unfinished(t *testing.T, root string) (names []string) {
	t.Helper()
	top := filepath.Join(root, state.Dir)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // not there yet
		}
		name, _ := filepath.Rel(top, path)
		base := filepath.Base(name)
		if strings.HasPrefix(base, ".") || strings.HasSuffix(base, "-incomplete") {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func keys(m map[string]bool) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// At each moment of writing the fallback set, what is there is the old or the
// new one: every state of the directory that a power failure could leave is read.
func TestFallbackStates(t *testing.T) {
	t.Parallel()
	m, _ := loadedMachine(t)
	c := m.ctl()
	old, kernel, imageData, err := c.store.Fallback()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.Root, "var/lib/ukdump/last-good")
	newImage := append(bytes.Clone(imageData), 0, 0, 0, 0)
	next := *old
	next.ImageID, next.Cmdline = state.ID(newImage), "new"
	set, err := json.Marshal(&next)
	if err != nil {
		t.Fatal(err)
	}
	// The steps of saveLastGood, with files cut off where they were not synced.
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"nothing", func() error { return nil }, old.Cmdline},
		{"half an image", func() error {
			return os.WriteFile(filepath.Join(dir, "image-"+next.ImageID+"-incomplete"), newImage[:99], 0o600)
		}, old.Cmdline},
		{"the image", func() error { return os.WriteFile(filepath.Join(dir, "image-"+next.ImageID), newImage, 0o600) }, old.Cmdline},
		{"half a set.json", func() error { return os.WriteFile(filepath.Join(dir, "set.json"+"-incomplete"), set[:99], 0o600) }, old.Cmdline},
		{"set.json", func() error { return os.WriteFile(filepath.Join(dir, "set.json"), set, 0o600) }, "new"},
		{"the old image removed", func() error { return os.Remove(filepath.Join(dir, "image-"+old.ImageID)) }, "new"},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		got, k, i, err := c.store.Fallback()
		if err != nil || got.Cmdline != s.want || !bytes.Equal(k, kernel) || state.ID(i) != got.ImageID {
			t.Errorf("%s: %+v, %v", s.name, got, err)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tools runs the references on one dump.
type tools struct {
	with          []string // command in front
	crashOptions  []string
	dir           string
	dump, vmlinux string
	modules       []string
}

func (t tools) run(stdin string, args ...string) error {
	args = append(t.with[:len(t.with):len(t.with)], args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// crash returns the stacks of crash.
func (t tools) crash(map[uint64]task) (map[uint64]task, error) {
	name := filepath.Join(t.dir, "crash.txt")
	if err := t.run("set scroll off\nforeach bt > "+name+"\nquit\n", slices.Concat([]string{"crash", "-s"}, t.crashOptions, []string{t.vmlinux, t.dump})...); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseCrash(string(text))
}

var (
	crashTask      = regexp.MustCompile(`^PID: (\d+) +TASK: ([0-9a-f]+) +CPU: \d+ +COMMAND: "(.*)"$`)
	crashFrame     = regexp.MustCompile(`^ *#\d+ \[[0-9a-f]+\] (.+?) at ([0-9a-f]+)(?: \[\w+\])?$`)
	crashException = regexp.MustCompile(`^    \[exception RIP: (.*)\]$`)
	crashRIP       = regexp.MustCompile(`^    RIP: ([0-9a-f]+) `)
)

// parseCrash reads the output of foreach bt. The function that an exception stopped
// is between two frames; behind an exception stack it is repeated as a frame.
func parseCrash(text string) (map[uint64]task, error) {
	out := make(map[uint64]task)
	var t *task
	flush := func() {
		if t != nil {
			out[t.addr] = *t
		}
	}
	exception := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := crashTask.FindStringSubmatch(line); m != nil {
			flush()
			t = &task{comm: m[3]}
			t.pid, _ = strconv.ParseUint(m[1], 10, 64)
			t.addr, _ = strconv.ParseUint(m[2], 16, 64)
			continue
		}
		if t == nil {
			continue
		}
		if m := crashFrame.FindStringSubmatch(line); m != nil {
			pc, _ := strconv.ParseUint(m[2], 16, 64)
			if n := len(t.frames); n > 0 && t.frames[n-1].pc == pc {
				continue
			}
			t.frames = append(t.frames, frame{pc: pc, name: m[1]})
		} else if m := crashException.FindStringSubmatch(line); m != nil {
			exception, _, _ = strings.Cut(m[1], "+")
		} else if m := crashRIP.FindStringSubmatch(line); m != nil && exception != "" {
			pc, _ := strconv.ParseUint(m[1], 16, 64)
			t.frames = append(t.frames, frame{pc: pc, name: exception})
			exception = ""
		} else if strings.HasPrefix(line, "bt: ") || strings.HasPrefix(line, "(") {
			t.end, t.broken = strings.TrimSpace(line), true
		}
	}
	flush()
	if len(out) == 0 {
		return nil, fmt.Errorf("the output has no task:\n%.500s", text)
	}
	return out, nil
}

//go:embed drgn.py
var drgnScript []byte

// drgn returns the stacks of drgn, for the tasks that it lists and the given ones.
func (t tools) drgn(ours map[uint64]task) (map[uint64]task, error) {
	script, name, tasks := filepath.Join(t.dir, "stacks.py"), filepath.Join(t.dir, "drgn.json"), filepath.Join(t.dir, "tasks.txt")
	var list strings.Builder
	for addr := range ours {
		fmt.Fprintf(&list, "%x\n", addr)
	}
	if err := os.WriteFile(tasks, []byte(list.String()), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(script, drgnScript, 0o600); err != nil {
		return nil, err
	}
	args := []string{"drgn", "-q", "--no-default-symbols", "-c", t.dump, "-s", t.vmlinux}
	for _, m := range t.modules {
		args = append(args, "-s", m)
	}
	if err := t.run("", append(args, script, tasks, name)...); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseDrgn(text)
}

// parseDrgn reads the lines of drgn.py.
func parseDrgn(text []byte) (map[uint64]task, error) {
	out := make(map[uint64]task)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v struct {
			Task, PID uint64
			Comm      string
			Listed    bool
			Registers bool
			Error     string
			Frames    []struct {
				PC     uint64
				Name   string
				Inline bool
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return nil, err
		}
		t := task{addr: v.Task, pid: v.PID, comm: v.Comm, end: v.Error, broken: v.Error != "", unlisted: !v.Listed, registers: v.Registers}
		for i, f := range v.Frames {
			if f.PC < 1<<63 && i > 0 {
				break // the process
			}
			if f.Inline {
				continue
			}
			if strings.HasPrefix(f.Name, "0x") {
				f.Name = ""
			}
			t.frames = append(t.frames, frame{pc: f.PC, name: f.Name})
		}
		out[t.addr] = t
	}
	return out, lines.Err()
}

package host

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	mountInterval  = time.Second
	systemctlLimit = 30 * time.Second
)

// MountWait waits for the configured mounts that systemd is about to make.
type MountWait struct {
	Jobs  func() ([]string, error) // returns where systemd is about to mount something
	Sleep func(time.Duration)
	Begin func(m *ConfiguredMount) // called once, before the first pause
	Left  time.Duration            // limit of all waits together
}

// Await returns when missing returns no mount any more, when systemd has no job for
// any of them, or when no time is left.
func (w *MountWait) Await(missing func() []ConfiguredMount) {
	for begun := false; w.Left > 0; w.Left -= mountInterval {
		list := missing()
		if len(list) == 0 {
			return // without asking systemd
		}
		if jobs, err := w.Jobs(); err == nil {
			list = slices.DeleteFunc(list, func(m ConfiguredMount) bool {
				return !slices.Contains(jobs, m.Point) && !slices.Contains(jobs, m.resolved)
			})
		}
		if len(list) == 0 {
			return
		}
		if !begun {
			w.Begin(&list[0])
			begun = true
		}
		w.Sleep(mountInterval)
	}
}

// MountJobs returns where systemd is about to mount or automount something: nowhere
// if it does not run.
func MountJobs() ([]string, error) {
	if !SystemdRuns("/") {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), systemctlLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=Where,Job", "*.mount", "*.automount").Output()
	if err != nil {
		return nil, fmt.Errorf("systemctl show: %w", err)
	}
	return parseMountJobs(string(out)), nil
}

// parseMountJobs reads the output of systemctl show: units with an empty line after
// each. Where there is no job, Job= is empty or missing.
func parseMountJobs(text string) (points []string) {
	for unit := range strings.SplitSeq(text, "\n\n") {
		where, job := "", ""
		for line := range strings.Lines(unit) {
			switch key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "="); key {
			case "Where":
				where = value
			case "Job":
				job = value
			}
		}
		if job != "" {
			points = append(points, where)
		}
	}
	return points
}

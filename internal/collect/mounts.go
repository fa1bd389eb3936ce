package collect

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"ukdump/internal/host"
)

// MountLimit is how long the directory for dumps is awaited, each mountInterval.
// After a crash its file system may be checked first. It leaves a part of the
// TimeoutStartSec= of ukdump-collect.service for the dump.
const (
	MountLimit    = 10 * time.Minute
	mountInterval = time.Second
)

// awaitMounts waits for the mounts that systemd is about to make. Nothing orders
// ukdump-collect.service after that. The network comes after it, so what is there
// is not awaited.
func (r *Run) awaitMounts(dir string) {
	said := false
	for m := host.NotMounted(r.Root, dir); m != nil && !m.Remote() && r.patience > 0; m = host.NotMounted(r.Root, dir) {
		jobs, err := r.MountJobs()
		if err == nil && !slices.Contains(jobs, m.Point) {
			return // it would be in vain
		}
		if !said {
			r.Out.Say("waiting for %s to be mounted", m.Point)
			said = true
		}
		r.Sleep(mountInterval)
		r.patience -= mountInterval
	}
}

// MountJobs returns where systemd is about to mount or automount something.
func MountJobs() ([]string, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // sd_booted(3)
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

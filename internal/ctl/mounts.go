package ctl

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ukdump/internal/host"
)

// mountLimit is how long the directory for dumps is awaited, each mountInterval.
// After a crash its file system may be checked first. It leaves a part of the
// TimeoutStartSec= of ukdump-collect.service for the dump.
const (
	mountLimit    = 10 * time.Minute
	mountInterval = time.Second
)

// awaitMounts waits for what systemd is about to mount. Nothing orders
// ukdump-collect.service after that. The network comes after it, so what is there
// is not awaited.
func (r *collector) awaitMounts(dir string) {
	said := false
	for m := r.notMounted(dir); m != nil && !m.remote() && r.patience > 0; m = r.notMounted(dir) {
		jobs, err := r.mountJobs()
		if err == nil && !slices.Contains(jobs, m.point) {
			return // it would be in vain
		}
		if !said {
			r.Say("waiting for %s to be mounted", m.point)
			said = true
		}
		r.sleep(mountInterval)
		r.patience -= mountInterval
	}
}

// mountJobs returns where systemd is about to mount or automount something.
func mountJobs() ([]string, error) {
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

// parseMountJobs reads what systemctl show prints: units with an empty line after
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
			points = append(points, strings.ReplaceAll(where, " ", `\040`))
		}
	}
	return points
}

// mount is an entry of fstab(5), or a unit of systemd.mount(5).
type mount struct {
	what, point, fstype, options string // blanks in point are \040, as in mountinfo
}

// tags may stand before a = in place of a device, see mount(8).
var tags = []string{"UUID", "LABEL", "PARTUUID", "PARTLABEL", "ID"}

// remote reports whether it is mounted after the network is there, if at all.
// systemd does not count what a hypervisor shares with its guest.
func (m *mount) remote() bool {
	fs := host.Mount{FSType: m.fstype}
	if fs.Remote() && m.fstype != "virtiofs" && m.fstype != "9p" || slices.Contains(strings.Split(m.options, ","), "_netdev") {
		return true
	}
	// Of types that nobody knows here, as server:/path or //server/path.
	tag, _, _ := strings.Cut(m.what, "=")
	return strings.HasPrefix(m.what, "//") || strings.Contains(m.what, ":") && !strings.HasPrefix(m.what, "/") && !slices.Contains(tags, tag)
}

// notMounted returns the configured mount at or above dir that is not there, nil
// if there is none. An automount of the network is not there: to look into it
// before the network is would wait for ever.
func (c *ctl) notMounted(dir string) *mount {
	mounts, _ := os.ReadFile(filepath.Join(c.root, "proc/self/mountinfo"))
	mounted, automount := map[string]bool{"/": true}, map[string]bool{}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if strings.Contains(line, " - autofs ") {
			automount[f[4]] = true
		} else {
			mounted[f[4]] = true
		}
	}
	for _, m := range c.configuredMounts() {
		under := filepath.Join(c.root, strings.ReplaceAll(m.point, `\040`, " "))
		there := mounted[m.point] || automount[m.point] && !m.remote()
		if !there && (dir == under || strings.HasPrefix(dir, under+"/")) {
			return &m
		}
	}
	return nil
}

// missingMount returns the first configured mount that one of the directories needs
// and that is not there, nil if there is none.
func (c *ctl) missingMount(dirs []string) *mount {
	for _, dir := range dirs {
		if m := c.notMounted(dir); m != nil {
			return m
		}
	}
	return nil
}

// configuredMounts returns the mounts of fstab(5) and those units that something
// pulls in.
func (c *ctl) configuredMounts() (list []mount) {
	fstab, _ := os.ReadFile(filepath.Join(c.root, "etc/fstab"))
	for line := range strings.Lines(string(fstab)) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || !filepath.IsAbs(f[1]) {
			continue
		}
		f = append(f, "", "")
		list = append(list, mount{what: f[0], point: filepath.Clean(f[1]), fstype: f[2], options: f[3]})
	}
	seen := make(map[string]bool)
	for _, dir := range unitDirs {
		units, _ := filepath.Glob(filepath.Join(c.root, dir, "systemd/system/*.mount"))
		for _, path := range units {
			name := filepath.Base(path)
			if seen[name] { // the first directory has the unit
				continue
			}
			seen[name] = true
			if !c.wanted(name) && !c.wanted(strings.TrimSuffix(name, "mount")+"automount") {
				continue
			}
			if m := readMountUnit(path); m.point != "" { // a mask is empty
				list = append(list, m)
			}
		}
	}
	return list
}

func readMountUnit(path string) (m mount) {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "What":
			m.what = value
		case "Where":
			m.point = strings.ReplaceAll(filepath.Clean(value), " ", `\040`)
		case "Type":
			m.fstype = value
		case "Options":
			m.options = value
		}
	}
	return m
}

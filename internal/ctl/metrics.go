package ctl

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"ukdump/internal/announce"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/crashdir"
	"ukdump/internal/host"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

const aboutMetrics = `Prints metrics for Prometheus: whether a crash would be saved, the last test, and the
crashes by outcome. The textfile collector of node_exporter reads the file of --output.`

func (c *ctl) metricsVerb() *cli.Command {
	var output string
	return &cli.Command{
		Name: "metrics", Summary: "print metrics for Prometheus", About: aboutMetrics, Root: true,
		Options: func(f *pflag.FlagSet) {
			f.StringVar(&output, "output", "", "`FILE` write to this file at once, for node_exporter; - for the standard output")
		},
		Run: func([]string) error { return c.metrics(output) },
	}
}

func (c *ctl) metrics(output string) error {
	var b bytes.Buffer
	for _, f := range c.families() {
		f.write(&b)
	}
	write := func(w io.Writer) error { _, err := b.WriteTo(w); return err }
	if output == "" || output == cli.StandardOutput {
		return write(c.Stdout)
	}
	return replaceFile(output, 0o644, write) // node_exporter is not root
}

// family is one metric with its samples. An unknown value has no sample.
type family struct {
	name, help string
	samples    []sample
}

type sample struct {
	labels [][2]string // name and value
	value  float64
}

func (f *family) add(value float64, labels ...[2]string) {
	f.samples = append(f.samples, sample{labels, value})
}

// write writes the text format, see
// https://prometheus.io/docs/instrumenting/exposition_formats/. All are gauges: dumps are
// removed, and a counter never decreases.
func (f *family) write(w io.Writer) {
	if len(f.samples) == 0 {
		return
	}
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n", f.name, f.help, f.name)
	for _, s := range f.samples {
		var labels []string
		for _, l := range s.labels {
			labels = append(labels, l[0]+`="`+escapeLabel(l[1])+`"`)
		}
		list := ""
		if len(labels) > 0 {
			list = "{" + strings.Join(labels, ",") + "}"
		}
		fmt.Fprintf(w, "%s%s %s\n", f.name, list, strconv.FormatFloat(s.value, 'f', -1, 64))
	}
}

// escapeLabel makes the value of a label: valid UTF-8, with three characters escaped. Values
// come from dumps, which anybody may have written.
func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(cli.Text(strings.ToValidUTF8(s, "?"), cli.MaxText))
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// families gathers all metrics.
func (c *ctl) families() []*family {
	s := c.gatherStatus()
	info := &family{name: "ukdump_info", help: "Version of ukdump, and release of the loaded capture kernel."}
	labels := [][2]string{{"version", plan.Software}}
	if s.Ours != nil {
		labels = append(labels, [2]string{"capture_kernel", s.Ours.Release})
	}
	info.add(1, labels...)
	loaded := &family{name: "ukdump_loaded", help: "Whether a capture kernel is loaded."}
	if l, err := c.kexec.Loaded(); err == nil {
		loaded.add(boolValue(l))
	}
	ready := &family{name: "ukdump_ready", help: "Whether status found no problem: a crash now would be saved as configured."}
	if s.State != notVisible {
		ready.add(boolValue(s.State == allWell))
	}
	reserved := &family{name: "ukdump_reserved_bytes", help: "Memory that is reserved for the capture kernel."}
	if s.Reserved != nil {
		reserved.add(float64(*s.Reserved))
	}
	forecast := &family{name: "ukdump_forecast_bytes", help: "Upper limit of the size of the next dump, by the last load."}
	if s.Ours != nil && s.Ours.Forecast != nil && s.Ours.Forecast.Bytes > 0 {
		forecast.add(float64(s.Ours.Forecast.Bytes))
	}
	list := []*family{info, loaded, ready, reserved, forecast}
	list = append(list, testFamilies(s)...)
	if conf, err := c.config(); err == nil {
		list = append(list, c.dumpFamilies(conf)...)
	}
	return list
}

// testFamilies has the result of the last kdumpctl test.
func testFamilies(s *status) []*family {
	at := &family{name: "ukdump_last_test_timestamp_seconds", help: "Time of the last test."}
	passed := &family{name: "ukdump_last_test_success", help: "Whether the last test has passed."}
	holds := &family{name: "ukdump_test_holds", help: "Whether a test of the loaded set has passed."}
	if s.Tested != nil {
		holds.add(boolValue(s.Tested.Holds))
		if t := s.Tested.Test; t != nil {
			at.add(float64(t.Time.Unix()))
			if t.Result != state.TestPending {
				passed.add(boolValue(t.Result == state.TestPassed))
			}
		}
	}
	return []*family{at, passed, holds}
}

// dumpFamilies counts the dumps. A directory that is not mounted or cannot be read has no
// sample, and then the number of crashes is not known either.
func (c *ctl) dumpFamilies(conf *config.Config) []*family {
	crashes := &family{name: "ukdump_crashes", help: "Crashes of which there is a dump, by outcome of the capture; tests are not counted."}
	prints := &family{name: "ukdump_crashes_by_fingerprint", help: "Those of them of which there is a report, by its fingerprint."}
	last := &family{name: "ukdump_last_crash_timestamp_seconds", help: "Time of the last of these crashes."}
	size := &family{name: "ukdump_dump_bytes", help: "Space that the dumps in a directory use."}
	free := &family{name: "ukdump_dump_free_bytes", help: "Free space in a directory of dumps."}
	var all []crashdir.Dump
	known := true
	for _, dir := range conf.DumpDirs(c.root) {
		label := [2]string{"directory", dir}
		dumps, err := crashdir.List(dir)
		if err != nil || host.MissingMount(c.root, []string{dir}) != nil {
			known = false
			continue
		}
		var used int64
		readable := true
		for _, d := range dumps {
			used += d.Used
			readable = readable && d.Outcome != crashdir.Unknown
		}
		if readable {
			size.add(float64(used), label)
		}
		if room, _, err := crashdir.RoomFor(dir); err == nil {
			free.add(float64(room.Free), label)
		}
		all = append(all, dumps...)
	}
	if known {
		counts, newest := countCrashes(all)
		for _, o := range []crashdir.Outcome{crashdir.Complete, crashdir.Incomplete, crashdir.DmesgOnly, crashdir.Failed, crashdir.Unknown} {
			crashes.add(float64(counts[o]), [2]string{"outcome", string(o)})
		}
		if newest > math.MinInt64 {
			last.add(float64(newest))
		}
		countFingerprints(prints, all)
	}
	return []*family{crashes, prints, last, size, free}
}

// countFingerprints counts crashes by the fingerprint of their report, each once.
func countFingerprints(f *family, dumps []crashdir.Dump) {
	counts, kinds, seen := map[string]int{}, map[string]string{}, map[string]bool{}
	for i := range dumps {
		d := &dumps[i]
		print := fingerprintOf(d)
		if d.Test || print == nil || seen[announce.Key(*d)] {
			continue
		}
		seen[announce.Key(*d)] = true
		counts[print.ID]++
		kinds[print.ID] = print.Kind
	}
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		f.add(float64(counts[id]), [2]string{"fingerprint", id}, [2]string{"kind", kinds[id]})
	}
}

// countCrashes counts crashes by their best outcome. newest is the time of the last one.
func countCrashes(dumps []crashdir.Dump) (counts map[crashdir.Outcome]int, newest int64) {
	newest = math.MinInt64
	counts = map[crashdir.Outcome]int{}
	crashes := slices.DeleteFunc(slices.Clone(dumps), func(d crashdir.Dump) bool { return d.Test })
	for _, d := range announce.BestOfEach(crashes) {
		counts[d.Outcome]++
	}
	for _, d := range crashes {
		newest = max(newest, d.Time.Unix())
	}
	return counts, newest
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"ukdump/test/debian"
)

// resultsFile is below the top of the source tree. The charts are made from it.
const resultsFile = "test/bench/results.json"

// results are the measurements of ukdump and of its peers: Debian bookworm in a
// guest with 2 GiB and one processor under QEMU's software emulation, each tool in
// its default configuration. The first of each kernel is ukdump, which bench
// measures again. The floor is a tool that only captures: busybox, makedumpfile,
// the same modules and 20 lines of shell, packed with zstd -19 and a window of
// 128 KiB.
type results struct {
	Suite   string                      `json:"suite"`
	Memory  int                         `json:"memory_mib"`
	Kernels map[debian.Flavour][]result `json:"kernels"`
}

// result is one row of a table. A value of 0 was not measured.
type result struct {
	Name     string  `json:"name"`
	Date     string  `json:"date,omitempty"` // of the measurement
	Packed   int64   `json:"packed_bytes"`
	Unpacked int64   `json:"unpacked_bytes"`
	Build    float64 `json:"build_seconds"`
	Load     float64 `json:"load_seconds,omitempty"`
	Smallest int     `json:"smallest_mib"` // crashkernel=
	Reboot   float64 `json:"panic_to_reset_seconds"`
	Lowest   float64 `json:"lowest_available_mib,omitempty"` // MemAvailable
}

func readResults(name string) (*results, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := new(results)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.Suite != suite || r.Memory != memory {
		return nil, fmt.Errorf("%s: measured with %s and %d MiB, not with %s and %d MiB", name, r.Suite, r.Memory, suite, memory)
	}
	return r, nil
}

// replace puts a new measurement of ukdump before those of its peers.
func (r *results) replace(flavour debian.Flavour, ukdump result) {
	rows := []result{ukdump}
	for _, x := range r.Kernels[flavour] {
		if x.Name != ukdump.Name {
			rows = append(rows, x)
		}
	}
	r.Kernels[flavour] = rows
}

func (r *results) write(name string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}

// print prints the table of one kernel.
func (r *results) print(out io.Writer, flavour debian.Flavour) {
	fmt.Fprintf(out, "\n%s kernel, ext4 on virtio-blk, %d MiB of memory\n", flavour, r.Memory)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tpacked\tunpacked\tbuild s\tload s\tsmallest crashkernel\tpanic to reset s\tlowest MemAvailable\t")
	for _, x := range r.Kernels[flavour] {
		load, lowest := "-", "-"
		if x.Load > 0 {
			load = fmt.Sprintf("%.1f", x.Load)
		}
		if x.Lowest > 0 {
			lowest = fmt.Sprintf("%.1f MiB", x.Lowest)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%s\t%dM\t%.1f\t%s\t\n", x.Name, x.Packed, x.Unpacked, x.Build, load, x.Smallest, x.Reboot, lowest)
	}
	w.Flush()
}

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ukdump/internal/crashdir"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
	"ukdump/test/faultlab/found"
)

// swapLimit is how long after the collector the swap may be on, in microseconds;
// systemd's own limit for a device that does not appear is 90 s.
const swapLimit = 30e6

var missingNothing = regexp.MustCompile(`(?m)^missing +nothing$`)

const swapUUID = "5ca1ab1e-0000-4000-8000-0000000d0d0e"

// TestCollect crashes machines with the default configuration whose /var/crash cannot
// be mounted in the capture kernel. The dump goes to the swap partition, and the next
// boot with systemd collects it before anything is swapped.
func TestCollect(t *testing.T) {
	if vmSet(t) != "matrix" {
		t.Skip("one of the matrix")
	}
	for _, tt := range []struct {
		name  string
		fstab string // how fstab names the swap
		lvm   bool   // swap on a logical volume that LVM activates during the boot
		full  bool   // the boot after the crash has no room for the dump
		slow  bool   // collecting takes longer than systemd waits for a device
	}{
		{name: "swap-by-uuid", fstab: "uuid"},
		{name: "swap-by-path", fstab: "path"},
		{name: "swap-on-lvm-by-uuid", fstab: "uuid", lvm: true},
		{name: "swap-on-lvm-by-path", fstab: "path", lvm: true},
		{name: "large-dump", fstab: "uuid", slow: true},
		{name: "no-room-at-first", fstab: "uuid", full: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, payload := lab(t, faultSuite)
			if err := buildFaultlab(installed.dir); err != nil {
				t.Fatal(err)
			}
			payload.Trees = append(payload.Trees, installed.dir+"/faultlab")
			m, err := debian.New(t.Context(), "collect-"+tt.name, debian.Hardware{
				Root: root, Flavour: debian.Cloud,
				Disks: []debian.Disk{{Name: "raw", Size: rawSize << 20}},
			})
			if err != nil {
				t.Fatal(err)
			}
			mark := "mark-collect-" + tt.name
			payload = payload.With("ukdump-test/cell", fmt.Sprintf("mark=%s\nswap_uuid=%s\nswap_in_fstab=%s\nswap_on_lvm=%t\ncrash_id=%s\nlost_id=%s\nhurry='%s'\n",
				mark, swapUUID, tt.fstab, tt.lvm, crashID, lostID, hurry))
			boot := func(name, init string) *vmtest.VM {
				t.Helper()
				payload.Run = ". /ukdump-test/collect-after\n"
				if name == "crash" {
					payload.Run = ". /ukdump-test/collect\n"
				}
				vm, err := m.Boot(t.Context(), debian.Boot{
					Name: name, Init: init, Payload: payload, Deadline: 10 * 60e9,
					Cmdline: reservation + " panic=5 printk.devkmsg=on",
				})
				if err == nil {
					err = vm.Wait()
				}
				if err != nil {
					t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
				}
				return vm
			}
			look := func(name, init string) *collected {
				t.Helper()
				vm := boot(name, init)
				err := vm.Expect("ukdump-test: results written", 0)
				var c *collected
				if err == nil {
					c, err = readCollected(m)
				}
				if err != nil {
					t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
				}
				return c
			}
			check := func(name string, wrong []string) {
				t.Helper()
				for _, w := range wrong {
					t.Errorf("%s: %s", name, w)
				}
				if t.Failed() {
					t.Fatalf("its disks and logs are kept in %s", m.Dir)
				}
			}

			vm := boot("crash", "/ukdump-test/collect-init")
			if err := vm.Expect("ukdump-test: "+mark, 0); err != nil {
				t.Fatal(err)
			}
			image := ""
			for _, line := range vm.Console() {
				if _, rest, ok := strings.Cut(line, "ukdump-test: image "); ok {
					image = strings.TrimSpace(rest)
				}
			}
			device := "vdb1"
			if tt.lvm {
				device = "dm-0"
			}
			after := ""
			if tt.slow {
				after = "/ukdump-test/collect-slow"
			}
			if tt.full {
				check("without room", look("full", "/ukdump-test/collect-full").leftAlone())
			}
			check("after the crash", look("after", after).collectedDump(image, device, tt.slow))
			check("one boot later", look("later", "").nothingNew(image, device))
			if err := m.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
}

// collected is a machine's record of one boot.
type collected struct {
	dir   string
	units map[string]map[string]string // of systemctl show, by Id
	swaps map[string]map[string]string
	dumps []found.Dump

	wrong []string
}

func readCollected(m *debian.Machine) (*collected, error) {
	dir, err := m.Results()
	if err != nil {
		return nil, err
	}
	c := &collected{dir: filepath.Join(dir, "ukdump-test/out")}
	c.units, c.swaps = parseUnits(c.text("units.txt")), parseUnits(c.text("swaps.txt"))
	all := new(found.Found)
	if err := json.Unmarshal([]byte(c.text("found.json")), all); err != nil {
		return nil, err
	}
	c.dumps = all.Dumps
	return c, nil
}

// parseUnits reads the output of systemctl show: blocks of Key=Value.
func parseUnits(text string) map[string]map[string]string {
	units := make(map[string]map[string]string)
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		u := make(map[string]string)
		for line := range strings.Lines(block) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			u[k] = v
		}
		units[u["Id"]] = u
	}
	return units
}

// text returns a file of the machine, "" if it does not exist.
func (c *collected) text(name string) string {
	b, _ := os.ReadFile(filepath.Join(c.dir, name))
	return string(b)
}

func (c *collected) bad(format string, a ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, a...))
}

// time returns a timestamp of a unit in microseconds since power on, 0 if the
// unit has none.
func (c *collected) time(unit, key string) int64 {
	n, _ := strconv.ParseInt(c.units[unit][key+"TimestampMonotonic"], 10, 64)
	return n
}

// healthy checks that the crash left no traces.
func (c *collected) healthy(image string) {
	if f := c.text("failed.txt"); f != "" {
		c.bad("failed units:\n%s", f)
	}
	if on := strings.TrimSpace(c.text("swapon.txt")); on != swapUUID {
		c.bad("the swap that is on: %q", on)
	}
	for _, u := range []string{"swap.target", "ukdump.service", "ukdump-announce.service"} {
		if c.units[u]["ActiveState"] != "active" {
			c.bad("%s is %s", u, c.units[u]["ActiveState"])
		}
	}
	if got := strings.TrimSpace(c.text("image.txt")); got != image {
		c.bad("the image was built again: %s, before %s", got, image)
	}
	if s := c.text("status.txt"); !strings.Contains(s, "up to date") || !strings.Contains(s, "raw:swap on ") || !missingNothing.MatchString(s) {
		c.bad("kdumpctl status says:\n%s", s)
	}
	if l := c.text("load.txt"); !strings.Contains(l, "or else raw:swap") {
		c.bad("kdumpctl load says:\n%s", l)
	}
	c.inOrder()
}

// inOrder checks that the collector ran once, early enough, and ended before
// anything could be swapped.
func (c *collected) inOrder() {
	const unit = "ukdump-collect.service"
	if n := strings.Count(c.text("journal.txt"), "Starting "+unit); n != 1 {
		c.bad("%s was started %d times", unit, n)
	}
	start, end := c.time(unit, "ExecMainStart"), c.time(unit, "ExecMainExit")
	if start == 0 || end < start {
		c.bad("%s ran from %d to %d", unit, start, end)
	}
	if on := c.time("swap.target", "ActiveEnter"); on < end {
		c.bad("swap.target was reached at %d µs, %s ended at %d µs", on, unit, end)
	}
	for id, u := range c.swaps {
		if on, err := strconv.ParseInt(u["ActiveEnterTimestampMonotonic"], 10, 64); err != nil || on < end || on > end+swapLimit || u["Result"] != "success" {
			c.bad("%s was on at %d µs, %s ended at %d µs; result %s", id, on, unit, end, u["Result"])
		}
	}
	if j := c.text("journal.txt"); strings.Contains(j, "swapon failed") || strings.Contains(j, "Swap process exited") {
		c.bad("a .swap unit has failed at first")
	}
}

// announced returns the announcements.
func (c *collected) announced() []string {
	return slices.Collect(strings.Lines(c.text("journal.json")))
}

// dump checks that there is one dump, whole and from the raw device.
func (c *collected) dump(device string) {
	if len(c.dumps) != 1 {
		c.bad("%d dumps", len(c.dumps))
		return
	}
	d := c.dumps[0]
	if err := whole(d); err != nil || d.Outcome != crashdir.Complete || d.Report == nil || d.Dmesg != crashdir.Dmesg {
		c.bad("the dump is %s: %v, %v", d.Outcome, err, d.Files)
		return
	}
	if to := d.Report.Target; to.Dir != "raw:swap" || to.Device != device {
		c.bad("the report names the target %+v", to)
	}
	if e := strings.Join(d.Report.Errors, "\n"); !strings.Contains(e, "did not appear") {
		c.bad("the report does not say why it is there: %s", e)
	}
}

// collectedDump returns the errors of a boot that had to collect the dump.
func (c *collected) collectedDump(image, device string, slow bool) []string {
	c.healthy(image)
	c.dump(device)
	if slow && !strings.Contains(c.text("journal.txt"), "Timed out waiting for device") {
		c.bad("collecting was not slow")
	}
	if a := c.announced(); len(a) != 1 || !strings.Contains(a[0], crashID) || !strings.Contains(a[0], `"complete"`) {
		c.bad("announced: %s", a)
	}
	if n := strings.Count(c.text("journal.txt"), "collected /var/crash/"); n != 1 {
		c.bad("the journal says %d times that a dump was collected", n)
	}
	return c.wrong
}

// nothingNew returns the errors of a boot that had nothing to collect.
func (c *collected) nothingNew(image, device string) []string {
	c.healthy(image)
	c.dump(device)
	if a := c.announced(); len(a) != 0 {
		c.bad("announced: %s", a)
	}
	if !strings.Contains(c.text("journal.txt"), "Nothing to collect.") {
		c.bad("the journal does not say that there was nothing to collect")
	}
	return c.wrong
}

// leftAlone returns the errors of a boot without room in /var/crash: the dump must
// stay, and the message must report the reason.
func (c *collected) leftAlone() []string {
	if f := c.text("failed.txt"); !strings.Contains(f, "ukdump-collect.service") {
		c.bad("failed units:\n%s", f)
	}
	if on := c.text("swapon.txt"); on != "" {
		c.bad("swap is on: %s", on)
	}
	if len(c.dumps) != 0 {
		c.bad("%d dumps", len(c.dumps))
	}
	if !strings.Contains(c.text("journal.txt"), "the raw dump stays there: it needs ") {
		c.bad("the journal does not say why")
	}
	return c.wrong
}

package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/dm"
	"ukdump/internal/lvm"
	"ukdump/internal/plan"
)

// newer is how long a complete volume waits for the other physical volumes of its
// group: they may have newer metadata.
const newer = 2 * time.Second

// group is a volume group as the capture kernel sees it.
type group struct {
	*lvm.VG
	pvs map[string]string // MAJOR:MINOR by UUID of all physical volumes, those of other groups too
}

func (g *group) device(pv string) string { return g.pvs[pv] }

// errChanged is the error of a volume that no longer matches its table in the plan.
var errChanged = errors.New("the volume was changed since the image was built")

// volume activates a logical volume from its current metadata. It uses a table of the
// plan only if the volume has not changed.
func (w *worker) volume(l *plan.Layer) ([]string, error) {
	c, err := dm.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	g, err := w.waitGroup(l)
	if err != nil {
		return nil, err
	}
	if now := g.SystemID(); now != l.LVM.SystemID {
		return nil, fmt.Errorf("the volume group now belongs to the system %q", now)
	}
	parts := g.parts(l)
	var d dm.Device
	made := make([]string, len(parts)) // MAJOR:MINOR
	for i, p := range parts {
		table, err := g.table(p, made[:i])
		// A RAID can be activated without one of its members.
		if _, ok := err.(*lvm.MissingError); ok && i+1 < len(parts) {
			w.warn("%s %s: %v", l.Kind, l.Name, err)
			continue
		}
		if err == nil {
			d, err = w.mapDevice(c, p, table)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		made[i] = d.Number()
	}
	return []string{d.Kernel()}, nil
}

// parts returns the devices to make. A volume that has become plain needs only itself.
func (g *group) parts(l *plan.Layer) (parts []*plan.LVMDevice) {
	for i := range l.LVM.Devices {
		parts = append(parts, &l.LVM.Devices[i])
	}
	if lv := g.Volume(l.UUID); lv != nil && g.Layout(lv) == lvm.Plain {
		top := *parts[len(parts)-1] // newer metadata may restore the old layout
		top.Type = ""
		parts = []*plan.LVMDevice{&top}
	}
	return parts
}

// mapDevice makes a device, unless it exists.
func (w *worker) mapDevice(c *dm.Control, p *plan.LVMDevice, table []dm.Target) (dm.Device, error) {
	d, err := c.Find(p.UUID)
	if err == nil && d.Active {
		return d, nil
	}
	if err == nil { // a worker ended while making it
		err = c.Remove(d.Name)
		if err != nil {
			return d, err
		}
	}
	if d, err = c.Make(p.Name, p.UUID, table); err != nil {
		return d, err
	}
	if p.Type == "raid" && !strings.HasPrefix(p.Params, "raid0") {
		// Repairs can wait for the next boot (dm-raid.rst).
		if err := c.Message(p.Name, "frozen"); err != nil {
			w.warn("%v", err)
		}
	}
	w.log.printf("made %s as %s", p.Name, d.Kernel())
	return d, nil
}

// table returns the table of the device p. made are the devices below it, "" for those
// that are missing.
func (g *group) table(p *plan.LVMDevice, made []string) ([]dm.Target, error) {
	lv := g.Volume(p.UUID)
	if lv == nil {
		return nil, errChanged
	}
	if p.Type == "" {
		if !g.Plain(lv) {
			return nil, fmt.Errorf("%w: it is %s", errChanged, lv.Type())
		}
		// A volume with snapshots may be written to only through its origin device.
		if g.Layout(lv) != lvm.Plain && !strings.HasSuffix(p.UUID, "-real") {
			return nil, fmt.Errorf("%w: it has a snapshot", errChanged)
		}
		return g.Table(lv, g.device)
	}
	if now := g.Layout(lv); now != p.Layout {
		return nil, fmt.Errorf("%w: from «%s» to «%s»", errChanged, p.Layout, now)
	}
	words := strings.Fields(p.Params)
	for i, word := range words {
		if at, ok := strings.CutPrefix(word, plan.DeviceArg); ok {
			n, err := strconv.Atoi(at)
			if err != nil || uint(n) >= uint(len(made)) {
				return nil, errors.New("the plan has no device " + word + " below the volume")
			}
			words[i] = made[n]
		}
	}
	if p.Type == "raid" {
		lvm.WithoutMissing(words)
	}
	if slices.Contains(words, "") {
		return nil, errors.New("cannot be activated without its missing devices")
	}
	length := p.Length
	if length == 0 {
		length = g.Size(lv)
	}
	return []dm.Target{{Length: length, Type: p.Type, Params: strings.Join(words, " ")}}, nil
}

// waitGroup waits for the newest metadata of a volume's group and for all physical
// volumes of the volume. After the deadline the metadata alone are enough.
func (w *worker) waitGroup(l *plan.Layer) (*group, error) {
	w.log.printf("waiting up to %d s for the physical volumes of %s", w.plan.Deadlines.Device, l.Name)
	s := w.newScan()
	seen := make(map[string]bool) // devices by name
	g := &group{pvs: make(map[string]string)}
	begun := uptime()
	complete := begun // since then the volume has been complete
	for ; ; time.Sleep(50 * time.Millisecond) {
		w.readGroup(g, s, l, seen)
		now := uptime()
		switch {
		case g.VG == nil || !g.has(l):
			complete = now
		case g.Complete(g.device) || now-complete > newer:
			return g, nil
		}
		switch {
		case now-begun <= seconds(w.plan.Deadlines.Device):
		case g.VG == nil:
			return nil, fmt.Errorf("the metadata did not appear within %d s; block devices: %s", w.plan.Deadlines.Device, s)
		default:
			return g, nil
		}
	}
}

// has reports whether all physical volumes of a volume have appeared.
func (g *group) has(l *plan.Layer) bool {
	for _, p := range g.parts(l) {
		if lv := g.Volume(p.UUID); lv != nil && g.Plain(lv) {
			if _, err := g.Table(lv, g.device); err != nil {
				return false
			}
		}
	}
	return true
}

// readGroup reads the physical volumes that are new.
func (w *worker) readGroup(g *group, s *scan, l *plan.Layer, seen map[string]bool) {
	for _, name := range s.names(l.Members...) {
		d := s.device(name, false)
		if d.err != nil || d.id.Type != "LVM2_member" || g.pvs[d.id.UUID] != "" || !s.takes(name, d.id.UUID, l, false) {
			continue
		}
		w.reading(name)
		pv, vg, err := readPV(filepath.Join(s.dev, name))
		w.reading("")
		if err != nil && !seen[name] {
			w.warn("%s: %v", name, err)
		}
		seen[name] = true
		number, _ := os.ReadFile(filepath.Join(s.sys, name, "dev"))
		if pv != d.id.UUID {
			continue // perhaps it can be read later; another UUID was not compared with the plan
		}
		g.pvs[pv] = strings.TrimSpace(string(number))
		if vg != nil && vg.Owns(l.UUID) && (g.VG == nil || vg.Seqno > g.Seqno) {
			g.VG = vg
		}
	}
}

func readPV(path string) (pv string, vg *lvm.VG, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	return lvm.Read(f)
}

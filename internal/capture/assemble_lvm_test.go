package capture

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/lvm"
	"ukdump/internal/plan"
)

const group1 = `vg {
id = "u17QYp-6CYw-Zqwg-XtTP-KXVb-xhuG-qYiWut"
extent_size = 8
physical_volumes { pv0 { id = "P" pe_start = 2048 pe_count = 100 } }
logical_volumes {
data { id = "A" segment1 { start_extent = 0 extent_count = 10 type = "striped" stripes = ["pv0", 0] } }
pool { id = "B" segment1 { start_extent = 0 extent_count = 10 type = "thin-pool" pool = "data" transaction_id = 1 } }
}
}
contents = "Text Format Volume Group"
`

func testGroup(t *testing.T, text string) *group {
	vg, err := lvm.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return &group{VG: vg, pvs: map[string]string{"P": "8:1"}}
}

const groupUUID = "LVM-u17QYp6CYwZqwgXtTPKXVbxhuGqYiWut"

func TestVolumeTable(t *testing.T) {
	pool := plan.LVMDevice{Name: "vg-pool", UUID: groupUUID + "B-tpool", Type: "thin-pool", Params: "%1 %0 128 0 0", Layout: "thin-pool: pool A"}
	made := []string{"254:0", "254:1"}
	// It was extended, and a thin volume was made in it: the table is right all
	// the same.
	extended := strings.NewReplacer("extent_count = 10 type = \"thin", "extent_count = 20 type = \"thin", "transaction_id = 1", "transaction_id = 9").Replace(group1)
	for text, length := range map[string]uint64{group1: 80, extended: 160} {
		got, err := testGroup(t, text).table(&pool, made)
		if err != nil || len(got) != 1 || got[0].Params != "254:1 254:0 128 0 0" || got[0].Length != length || got[0].Type != "thin-pool" {
			t.Errorf("pool: %+v, %v", got, err)
		}
	}
	plain := plan.LVMDevice{UUID: groupUUID + "A-tdata"}
	if got, err := testGroup(t, group1).table(&plain, nil); err != nil || got[0].Params != "8:1 2048" {
		t.Errorf("plain: %+v, %v", got, err)
	}
}

func TestVolumeTableRefused(t *testing.T) {
	pool := plan.LVMDevice{UUID: groupUUID + "B", Type: "thin-pool", Params: "%0 128", Layout: "thin-pool: pool A"}
	for name, tt := range map[string]struct {
		change func(p *plan.LVMDevice)
		made   []string
		want   string
	}{
		"changed":    {func(p *plan.LVMDevice) { p.Layout = "thin-pool: pool X" }, []string{"254:0"}, "«thin-pool: pool A»"},
		"removed":    {func(p *plan.LVMDevice) { p.UUID = groupUUID + "Z" }, []string{"254:0"}, errChanged.Error()},
		"not plain":  {func(p *plan.LVMDevice) { p.Type = "" }, nil, "it is thin-pool"},
		"missing":    {func(*plan.LVMDevice) {}, []string{""}, "its missing devices"},
		"none below": {func(*plan.LVMDevice) {}, nil, "has no device %0"},
		"negative":   {func(p *plan.LVMDevice) { p.Params = "%-1" }, []string{"254:0"}, "has no device %-1"},
	} {
		p := pool
		tt.change(&p)
		if table, err := testGroup(t, group1).table(&p, tt.made); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v", name, table, err)
		}
	}
	// Its snapshot was made after the image: writing past that would spoil it.
	snapped := testGroup(t, strings.Replace(group1, "pool {", `s { id = "S" segment1 { start_extent = 0 extent_count = 1 type = "snapshot" origin = "data" cow_store = "cow" } }
pool {`, 1))
	if table, err := snapped.table(&plan.LVMDevice{UUID: groupUUID + "A"}, nil); !errors.Is(err, errChanged) {
		t.Errorf("with a new snapshot: %v, %v", table, err)
	}
	if _, err := snapped.table(&plan.LVMDevice{UUID: groupUUID + "A-real"}, nil); err != nil {
		t.Errorf("below its snapshot: %v", err)
	}
	g := testGroup(t, group1)
	g.pvs = nil
	var missing *lvm.MissingError
	if _, err := g.table(&plan.LVMDevice{UUID: groupUUID + "A"}, nil); !errors.As(err, &missing) {
		t.Errorf("without its physical volume: %v", err)
	}
}

// A volume that was made plain after the image was built needs none of the devices it
// was made of then.
func TestVolumeParts(t *testing.T) {
	l := &plan.Layer{UUID: groupUUID + "A", LVM: &plan.LVMVolume{Devices: []plan.LVMDevice{
		{Name: "vg-data_rimage_0", UUID: groupUUID + "C"}, {Name: "vg-data", UUID: groupUUID + "A", Type: "raid"},
	}}}
	g := testGroup(t, group1)
	got := g.parts(l)
	if len(got) != 1 || got[0].Name != "vg-data" || got[0].Type != "" {
		t.Fatalf("%+v", got)
	}
	if l.LVM.Devices[1].Type != "raid" {
		t.Error("it was forgotten what it was, which newer metadata may say it is")
	}
	if table, err := g.table(got[0], nil); err != nil || table[0].Type != "linear" || table[0].Params != "8:1 2048" {
		t.Errorf("%+v, %v", table, err)
	}
	l.UUID = groupUUID + "B"
	if got := testGroup(t, group1).parts(l); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

// A bcache device is registered in the sysfs that is searched.
func TestRegisterBcache(t *testing.T) {
	sysfs := t.TempDir()
	for _, dir := range []string{"class/block", "fs/bcache"} {
		if err := os.MkdirAll(filepath.Join(sysfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &scan{sys: filepath.Join(sysfs, "class/block"), dev: "/dev"}
	if err := s.registerBcache("sda2"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(sysfs, "fs/bcache/register")); err != nil || string(b) != "/dev/sda2" {
		t.Errorf("registered %q, %v", b, err)
	}
}

package verify

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder"
	"ukdump/internal/builder/buildtest"
	"ukdump/internal/host"
)

// draw prints a stack of which every level has the drivers that it asks for.
func draw(s builder.Stack) []byte {
	var out bytes.Buffer
	t := stackTree(s, func(needs []builder.Need) string {
		var names []string
		for _, n := range needs {
			names = append(names, n.Label)
		}
		return strings.Join(names, "; ")
	})
	for _, l := range t.lines() {
		fmt.Fprintln(&out, strings.TrimRight(strings.Join(l, "  "), " "))
	}
	return out.Bytes()
}

// drawn are the recorded machines whose trees are in testdata/trees.txt.
var drawn = []string{"ahci-ext4", "btrfs-subvol", "mmc-vfat", "nvme-multipath", "usb-uas", "virtio-scsi-xfs"}

// In the tree of each recorded machine whose storage can be used, nothing of it
// is left out.
func TestTreesOfRecordedHosts(t *testing.T) {
	const hosts = "../host/testdata/hosts/"
	dirs, err := os.ReadDir(hosts)
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	var golden bytes.Buffer
	for _, d := range dirs {
		h, err := host.Open(hosts + d.Name())
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.Storage("/var/crash")
		var refused *host.UnsupportedError
		if errors.As(err, &refused) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		stack := builder.Stack{Target: s.Dir, Type: s.FSType, UUID: s.UUID, Blocks: s.Stack, Devices: s.Devices}
		names := []string{s.UUID}
		for _, b := range s.Stack {
			names = append(names, b.Name)
		}
		for _, q := range s.Requests() {
			stack.Needs = append(stack.Needs, builder.Need{For: q.For, Label: cmp.Or(q.Label, q.Why)})
			names = append(names, path.Base(q.For))
		}
		got := draw(stack)
		for _, name := range names {
			if name != "." && !bytes.Contains(got, []byte(name)) {
				t.Errorf("%s: no %s in\n%s", d.Name(), name, got)
			}
		}
		if slices.Contains(drawn, d.Name()) {
			fmt.Fprintf(&golden, "# %s\n%s\n", d.Name(), got)
		}
	}
	buildtest.Golden(t, "trees.txt", golden.Bytes())
}

// Any stack can be drawn: a device below several others is drawn once.
func TestTreeOfLayers(t *testing.T) {
	const gib = 1 << 30
	disk := func(name, pci string) (host.BlockDevice, host.Device) {
		return host.BlockDevice{Name: name, Path: "/sys/devices/pci0000:00/" + pci + "/ata1/block/" + name, Size: 8 * gib, Kind: host.Disk},
			host.Device{Path: "/sys/devices/pci0000:00/" + pci, Subsystem: "pci", Driver: "ahci"}
	}
	sda, ahci := disk("sda", "0000:00:1f.2")
	sdb, _ := disk("sdb", "0000:00:1f.2")
	clock := host.Device{Path: "/sys/devices/platform/clock", Subsystem: "platform", Driver: "clk"}
	blocks := []host.BlockDevice{
		{Name: "dm-2", Kind: host.LVM, DMName: "vg-crash", Size: 4 * gib, Below: []string{"dm-1", "dm-0"}},
		{Name: "dm-1", Kind: host.LVM, DMName: "vg-crash_rimage_1", Size: 4 * gib, Below: []string{"md127"}},
		{Name: "dm-0", Kind: host.LVM, DMName: "vg-crash_rimage_0", Size: 4 * gib, Below: []string{"md127"}},
		{Name: "md127", Kind: host.MD, Size: 8 * gib, Below: []string{"sda", "sdb"}},
		sdb, sda,
	}
	s := builder.Stack{Target: "/var/crash", Type: "ext4", UUID: "1-2", Blocks: blocks, Devices: []host.Device{clock, ahci}}
	for device, module := range map[string]string{"": "ext4", "dm-2": "dm-raid", "dm-1": "dm-mod", "dm-0": "dm-mod", "md127": "raid1"} {
		s.Needs = append(s.Needs, builder.Need{For: device, Label: module})
	}
	for _, d := range s.Devices {
		s.Needs = append(s.Needs, builder.Need{For: d.Path, Label: d.Driver})
	}
	const want = `/var/crash
└─ ext4 1-2  ext4
   └─ vg-crash (dm-2), logical volume, 4.0 GiB  dm-raid
      ├─ vg-crash_rimage_1 (dm-1), logical volume, 4.0 GiB  dm-mod
      │  └─ md127, md array, 8.0 GiB  raid1
      │     ├─ sda, disk, 8.0 GiB
      │     │  ├─ pci 0000:00:1f.2  ahci
      │     │  └─ platform clock  clk
      │     └─ sdb, disk, 8.0 GiB
      │        └─ pci 0000:00:1f.2  ahci
      └─ vg-crash_rimage_0 (dm-0), logical volume, 4.0 GiB  dm-mod
         └─ md127, md array, 8.0 GiB, see above
`
	if got := string(draw(s)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := string(draw(builder.Stack{Target: "raw:/dev/sda"})); got != "raw:/dev/sda\n└─ nothing known\n" {
		t.Error(got)
	}
}

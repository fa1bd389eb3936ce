package host

import (
	"errors"
	"strings"
	"testing"
)

// Advice follows from the obstacle, whatever the error says.
func TestAdvice(t *testing.T) {
	for _, tt := range []struct {
		obstacle Obstacle
		raw      bool
		want     string
	}{
		{InMemory, false, "raw:PARTUUID=ID, a partition that nothing uses"},
		{InMemory, false, "on a disk of this machine"},
		{OverlayUpper, false, "In a container"},
		{NotWritable, false, "can be written to"},
		{Layered, false, "one of the file systems below"},
		{NothingMounted, false, "Mount its file system"},
		{NoDriver, false, "MODE=emergency"},
		{Encrypted, false, "EVIDENCE=/boot"},
		{NoHeader, false, "EVIDENCE=/boot"},
		{EncryptedDir, false, "not encrypted"},
		{InFile, false, "that holds its file"},
		{Encrypted, true, "raw:PARTUUID=ID, or raw:swap"},
		{NoDriver, true, "raw:PARTUUID=ID, or raw:swap"},
	} {
		e := &UnsupportedError{Dir: "x", Raw: tt.raw, Obstacle: tt.obstacle, What: "x", Why: "x"}
		if got := e.Advice(); !strings.Contains(got, tt.want) || strings.Count(got, "\n") > 0 || !strings.HasSuffix(got, ".") {
			t.Errorf("%d: got %q", tt.obstacle, got)
		}
	}
	e := &UnsupportedError{Raw: true, Obstacle: InMemory, Remedy: "Do this."}
	if e.Advice() != "Do this." {
		t.Error("its own remedy does not win")
	}
}

// Each refusal knows its obstacle.
func TestObstacles(t *testing.T) {
	h := machine(t, nil)
	mounted := func(fsType string) error {
		return refuseType("/var/crash", Mount{FSType: fsType, Point: "/var", Source: "x"})
	}
	mapper := func(uuid string) error {
		return h.refuseBlock("/var/crash", BlockDevice{Name: "dm-0", Kind: Mapper, DMName: "x", DMUUID: uuid})
	}
	device := func(name, dir string) error {
		return h.refuseBlock("/var/crash", BlockDevice{Name: name, Path: dir + name, Kind: Disk})
	}
	const virtual = "/sys/devices/virtual/block/"
	overlay := Mount{FSType: "overlay", Point: "/", Source: "overlay"}
	_, noUpper := h.upperDir("/var/crash", overlay, nil)
	_, composefs := h.upperDir("/var/crash", Mount{FSType: "overlay", Point: "/", Source: "composefs"}, nil)
	overlay.Super = "upperdir=/nowhere"
	_, elsewhere := h.upper("/var/crash", overlay, nil, "/var/crash")
	external := (&Storage{FSType: "xfs", Stack: []BlockDevice{{Name: "sda1"}}}).external("log")
	_, plain := h.crypt("/var/crash", BlockDevice{DMUUID: "CRYPT-PLAIN-x"}, nil)
	for _, tt := range []struct {
		name string
		err  error
		want Obstacle
	}{
		{"tmpfs", mounted("tmpfs"), InMemory},
		{"squashfs", mounted("squashfs"), NotWritable},
		{"mergerfs", mounted("fuse.mergerfs"), Layered},
		{"autofs", mounted("autofs"), NothingMounted},
		{"nfs", mounted("nfs4"), NoDriver},
		{"zfs", mounted("zfs"), NoDriver},
		{"bcachefs", mounted("bcachefs"), NoDriver},
		{"overlays on each other", mounted("overlay"), OverlayUpper},
		{"overlay on tmpfs", upperLostError("/var/crash", overlay, "/u", Mount{FSType: "tmpfs"}), InMemory},
		{"overlay on squashfs", upperLostError("/var/crash", overlay, "/u", Mount{FSType: "squashfs"}), NotWritable},
		{"overlay without an upper directory", noUpper, NotWritable},
		{"composefs", composefs, NotWritable},
		{"overlay of a container", elsewhere, OverlayUpper},
		{"external log", external, NoDriver},
		{"dm-integrity", mapper("CRYPT-INTEGRITY-x"), NoDriver},
		{"dm-crypt without a header", plain, NoHeader},
		{"loop", device("loop0", virtual), InFile},
		{"zram", device("zram0", virtual), InMemory},
		{"RAM disk", device("ram0", virtual), InMemory},
		{"nbd", device("nbd0", virtual), NoDriver},
		{"iSCSI", device("sda", "/sys/devices/platform/host1/session1/target1:0:0/1:0:0:0/block/"), NoDriver},
	} {
		u := (*UnsupportedError)(nil)
		if !errors.As(tt.err, &u) || u.Obstacle != tt.want {
			t.Errorf("%s: got %+v, want obstacle %d", tt.name, u, tt.want)
		}
	}
}

package builder

import (
	"strings"
	"testing"

	"ukdump/internal/host"
	"ukdump/internal/kfeature"
	"ukdump/internal/kimage"
)

// A file system that only the running kernel can write to is no target.
func TestTooOld(t *testing.T) {
	h, err := host.Open("../host/testdata/hosts/virtio-scsi-xfs")
	if err != nil {
		t.Fatal(err)
	}
	running, err := h.Kernel()
	if err != nil || (kfeature.Version{6, 0}).After(running) || !(kfeature.Version{99, 0}).After(running) {
		t.Fatalf("running %s, %v", running, err)
	}
	for _, tt := range []struct {
		chosen string
		since  kfeature.Version
		old    bool
	}{
		{"5.10.0-9-amd64", kfeature.Version{5, 19}, true},
		{"5.19.0-9-amd64", kfeature.Version{5, 19}, false},
		{"5.10.0-9-amd64", kfeature.Version{99, 0}, false}, // the distribution added it
	} {
		b := &Build{host: h, Kernel: &kimage.Image{Release: tt.chosen}}
		err := b.tooOld(&host.Storage{Dir: "/var/crash", FSType: "xfs", Youngest: kfeature.Feature{Name: "nrext64", Since: tt.since}})
		if (err != nil) != tt.old || tt.old && !strings.Contains(err.Error(), "nrext64, which Linux knows since 5.19") {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
	b := &Build{host: h, Kernel: &kimage.Image{Release: "5.10.0"}}
	if err := b.tooOld(&host.Storage{}); err != nil {
		t.Errorf("without a feature: %v", err)
	}
}

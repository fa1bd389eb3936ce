package builder

import (
	"fmt"
	"strings"
	"testing"

	"ukdump/internal/host"
)

// TestLayers looks at the layers of recorded machines.
func TestLayers(t *testing.T) {
	for _, tt := range []struct{ machine, layers, modules string }{
		{"md-raid5", "md md127 8513b466-d3d1-d53d-edeb-9c1862ae4931 vdb vdc vdd", "md-level-5,raid456"},
		{"md-raid1-0.90", "md md127 79d78430-bfc4-475f-3d18-6b3c53958f34 vdb vdc", "md-level-1,raid1"},
		{"md-degraded", "md md127 0189863a-1a03-9be4-56b8-44ec587b4e0e vdb", "md-level-1,raid1"},
		{"bcache", "bcache bcache0 2778d2aa-e794-11f1-bf8d-33b0a6236d02 vdb=2778d2aa-e794-11f1-bf8d-33b0a6236d02 vdc=26cfa2e8-e794-11f1-bf8d-33b0a6236d02", "bcache"},
		{"btrfs-multi", "btrfs 00000000-0000-4000-8000-000000000012 00000000-0000-4000-8000-000000000012 vdb vdc", ""},
		{"btrfs-root", "", ""},
	} {
		h, err := host.Open("../host/testdata/hosts/" + tt.machine)
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.Storage("/var/crash")
		if err != nil {
			t.Errorf("%s: %v", tt.machine, err)
			continue
		}
		b := &Build{host: h}
		layers, requests, err := b.layers("/var/crash", s.Stack)
		if err != nil {
			t.Errorf("%s: %v", tt.machine, err)
		}
		var got, modules []string
		for _, l := range append(layers, filesystemLayer(s)...) {
			text := fmt.Sprintf("%s %s %s", l.Kind, l.Name, l.UUID)
			for _, m := range l.Members {
				text += " " + m.Name
				if m.ID != "" {
					text += "=" + m.ID
				}
				if !strings.HasPrefix(m.Path, "pci0000:00/") {
					t.Errorf("%s: member %s is at %q", tt.machine, m.Name, m.Path)
				}
			}
			got = append(got, text)
		}
		for _, r := range requests {
			modules = append(modules, strings.Join(r.Names, ","))
		}
		if g := strings.Join(got, "; "); g != tt.layers {
			t.Errorf("%s: got layers %s", tt.machine, g)
		}
		if m := strings.Join(modules, " "); m != tt.modules {
			t.Errorf("%s: got modules %s", tt.machine, m)
		}
	}
}

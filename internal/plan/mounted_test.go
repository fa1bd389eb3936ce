package plan

import (
	"strings"
	"testing"
)

func TestMounted(t *testing.T) {
	for _, tt := range []struct {
		path  string
		mount *SystemMount
		err   string
	}{
		{"/var/crash", &SystemMount{Point: "/var", Units: []string{"var.mount"}}, ""},
		{"/var/crash", &SystemMount{Point: "/"}, ""},
		{"crash", &SystemMount{Point: "/"}, "path"},
		{"/var/../crash", &SystemMount{Point: "/"}, "path"},
		{"/var/crash", nil, "no clean absolute point"},
		{"/var/crash", &SystemMount{Point: "var"}, "no clean absolute point"},
		{"/var/crash", &SystemMount{Point: "/", Units: []string{"--force"}}, "mount.units[0]"},
		{"/var/crash", &SystemMount{Point: "/", Units: []string{"a.mount", ""}}, "mount.units[1]"},
	} {
		for _, evidence := range []bool{false, true} {
			p := valid()
			list := &p.Targets
			if evidence {
				list = &p.Evidence
			}
			*list = []Target{{Kind: Mounted, Dir: "/var/crash", Path: tt.path, Mount: tt.mount}}
			err := p.Validate()
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%+v: got %v", tt, err)
			}
		}
	}
}

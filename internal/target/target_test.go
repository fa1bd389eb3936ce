package target

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Target
		out  string // "" for in
	}{
		{"/var/crash", Target{Directory, "/var/crash"}, ""},
		{"/var//crash/", Target{Directory, "/var/crash"}, "/var/crash"},
		{"raw:swap", Target{Swap, ""}, ""},
		{"raw:/dev/sda2", Target{Device, "/dev/sda2"}, ""},
		{"raw:/dev//disk/../sda2", Target{Device, "/dev/sda2"}, "raw:/dev/sda2"},
		{"raw:PARTUUID=0A-b", Target{PartUUID, "0A-b"}, ""},
		{"raw:UUID=1", Target{UUID, "1"}, ""},
	} {
		got, err := Parse(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v", tt.in, got, err)
		}
		if tt.out == "" {
			tt.out = tt.in
		}
		if got.String() != tt.out {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.out)
		}
		if got.Raw() != strings.HasPrefix(tt.in, "raw:") {
			t.Errorf("%s: raw %v", tt.in, got.Raw())
		}
	}
	for _, in := range []string{"", "var/crash", "raw:", "raw:sda", "raw:/etc/x", "raw:/dev/../etc", "raw:LABEL=x", "raw:UUID=", "raw:UUID=a b", "raw:UUID=é"} {
		if got, err := Parse(in); err == nil {
			t.Errorf("%q is %+v", in, got)
		}
	}
}

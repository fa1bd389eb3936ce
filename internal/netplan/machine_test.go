package netplan

import (
	"path/filepath"
	"strings"
	"testing"
)

// The name of a machine is one directory for every protocol, whatever the host is called.
func TestMachineDir(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	for _, tt := range []struct{ host, id, want string }{
		{"web1", id, "web1-01234567"},
		{"web1.example.org", "", "web1.example.org"},
		{"", id, "01234567"},
		{"", "", "unknown"},
		{"..", "", "unknown"},
		{"..", id, "01234567"},
		{".ssh", "", "ssh"},
		{"a/../b", "", "a-..-b"},
		{"web 1~ü\n", "", "web-1---"},
		{strings.Repeat("x", 300), id, strings.Repeat("x", 64) + "-01234567"},
		{"web1", "0123", "web1-0123"},
	} {
		got := MachineDir(tt.host, tt.id)
		if got != tt.want || !filepath.IsLocal(got) || filepath.Base(got) != got {
			t.Errorf("%q, %q: got %q, want %q", tt.host, tt.id, got, tt.want)
		}
	}
}

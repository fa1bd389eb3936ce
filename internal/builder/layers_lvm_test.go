package builder

import (
	"slices"
	"testing"
)

func TestMapperModules(t *testing.T) {
	for _, tt := range []struct {
		target, params string
		want           []string
	}{
		{"thin-pool", "253:1 253:2 128 0", []string{"dm-thin-pool"}},
		{"snapshot-origin", "253:3", []string{"dm-snapshot"}},
		{"cache", "", []string{"dm-cache", "dm-cache-smq"}},
		{"raid", "raid6_zr 3 128 region_size 1024 3 - -", []string{"dm-raid", "raid456"}},
		{"raid", " raid1\t1", []string{"dm-raid", "raid1"}},
		{"raid", "raid99 1", []string{"dm-raid"}},
		{"raid", "", []string{"dm-raid"}},
		{"linear", "", nil},
	} {
		var got []string
		for _, r := range mapperModules(tt.target, tt.params, "vg/x") {
			got = append(got, r.Names...)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s %q: got %q, want %q", tt.target, tt.params, got, tt.want)
		}
	}
}

package lvm

import (
	"strings"
	"testing"
)

func TestWithoutMissing(t *testing.T) {
	for params, want := range map[string]string{
		"raid1 3 0 region_size 4096 2 254:0 254:1 _ 254:3": "raid1 3 0 region_size 4096 2 254:0 254:1 - -",
		"raid1 1 0 2 254:0 _ - -":                          "raid1 1 0 2 - - - -",
		"raid1 9 0 2 _":                                    "raid1 9 0 2 _",
		"raid1":                                            "raid1",
	} {
		words := strings.Fields(params)
		for i := range words {
			words[i] = strings.Trim(words[i], "_")
		}
		WithoutMissing(words)
		for i := range words {
			if words[i] == "" {
				words[i] = "_"
			}
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%s: %s, want %s", params, got, want)
		}
	}
}

package kmod

import (
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"*", "", true},
		{"**a", "a", true},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"d0[0-2]*", "d01x", true},
		{"d0[0-2]*", "d03x", false},
		{"[!a]", "b", true},
		{"[^a]", "a", false},
		{"[]x]", "]", true},
		{"[]x]", "x", true},
		{"[a-]", "-", true},
		{"[a", "[a", true}, // not closed: a literal
		{"[a", "a", false},
		{`[\]]`, "]", true},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{`a\`, `a\`, true},
		{"a/*", "a/b/c", true},
		{"[0-9A-F]x", "Cx", true},
		{"[0-9A-F]x", "Gx", false},
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", true},
		{"pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true},
		{"of:N*T*Cvirtio,mmioC*", "of:Nvirtio_mmioT(null)Cvirtio,mmio", false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
		if strings.Contains(tt.s, "-") {
			continue // modprobe, too, cannot match '-' in brackets
		}
		a := newAlias(tt.pattern, "m", false)
		if got := a.match(normalisePattern(tt.s)); got != tt.want {
			t.Errorf("alias %q matches %q: %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

// A pattern of many stars: in exponential time the test would not end.
func TestGlobIsQuick(t *testing.T) {
	if glob(strings.Repeat("a*", 2000)+"b", strings.Repeat("a", 4000)) {
		t.Error("matched")
	}
}

func TestNormalise(t *testing.T) {
	for in, want := range map[string]string{
		"crypto-crc32c": "crypto_crc32c",
		"a-[0-9]-b":     "a_[0-9]_b",
		"a-[0-9":        "a_[0_9",
		"plain":         "plain",
	} {
		if got := normalisePattern(in); got != want {
			t.Errorf("normalisePattern(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b?[c-e]", "axxbyd")
	f.Add(`[\]-`, "]")
	f.Fuzz(func(t *testing.T, p, s string) {
		if len(p)+len(s) > 1<<12 {
			return
		}
		if glob(p, s) && p != s && !strings.ContainsAny(p, `*?[\`) {
			t.Errorf("literal %q matches %q", p, s)
		}
		if !strings.ContainsAny(s, `*?[\`) && !glob(s, s) {
			t.Errorf("%q does not match itself", s)
		}
	})
}

package plan

import (
	"strings"
	"testing"
)

func TestCryptParams(t *testing.T) {
	c := CryptVolume{Cipher: "aes-xts-plain64", KeyBytes: 64, KeyDescription: "kdump-cryptsetup:vk-x", Offset: 32768}
	if got, want := c.Params("254:1"), "aes-xts-plain64 :64:user:kdump-cryptsetup:vk-x 0 254:1 32768"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	c.Options, c.IVOffset = []string{"allow_discards", "sector_size:4096"}, 8
	if got, want := c.Params("254:1"), "aes-xts-plain64 :64:user:kdump-cryptsetup:vk-x 8 254:1 32768 2 allow_discards sector_size:4096"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCryptLength(t *testing.T) {
	for _, tt := range []struct {
		volume CryptVolume
		member int64
		want   uint64
	}{
		{CryptVolume{Offset: 8}, 20 * 512, 12},
		{CryptVolume{Offset: 8}, 8 * 512, 0},
		{CryptVolume{Offset: 8}, 0, 0},
		{CryptVolume{Offset: 8, SectorSize: 4096}, 20 * 512, 8},
		{CryptVolume{Offset: 8, Sectors: 4}, 20 * 512, 4},
	} {
		if got := tt.volume.Length(tt.member); got != tt.want {
			t.Errorf("%+v of %d: %d, want %d", tt.volume, tt.member, got, tt.want)
		}
	}
}

func TestCryptValidate(t *testing.T) {
	good := CryptVolume{Cipher: "aes-xts-plain64", KeyBytes: 64, KeyDescription: "d"}
	for _, tt := range []struct {
		name   string
		change func(l *Layer)
		want   string // part of the error
	}{
		{"good", func(l *Layer) {}, ""},
		{"no table", func(l *Layer) { l.Crypt = nil }, "no cipher"},
		{"no cipher", func(l *Layer) { l.Crypt.Cipher = "" }, "no cipher"},
		{"no key", func(l *Layer) { l.Crypt.KeyBytes = 0 }, "no key"},
		{"no description", func(l *Layer) { l.Crypt.KeyDescription = "" }, "no key"},
	} {
		c := good
		l := Layer{Kind: Crypt, UUID: "u", Crypt: &c}
		tt.change(&l)
		err := l.validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestCheckKeyDescription(t *testing.T) {
	for description, good := range map[string]bool{
		"kdump-cryptsetup:vk-x": true, strings.Repeat("d", 127): true,
		"": false, strings.Repeat("d", 128): false, "a b": false, "a\n": false, "\x7f": false,
	} {
		if err := CheckKeyDescription(description); (err == nil) != good {
			t.Errorf("%q: %v", description, err)
		}
	}
}

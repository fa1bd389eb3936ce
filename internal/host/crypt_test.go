package host

import (
	"slices"
	"strings"
	"testing"
)

func TestParseCrypt(t *testing.T) {
	const secret = "00112233445566778899aabbccddeeff"
	for _, tt := range []struct {
		params    string
		want      CryptVolume
		integrity bool
	}{
		{"aes-xts-plain64 :64:logon:cryptsetup:u-d0 0 254:0 32768",
			CryptVolume{Cipher: "aes-xts-plain64", KeyBytes: 64, Offset: 32768}, false},
		{"aes-cbc-essiv:sha256 " + secret + " 0 254:0 4096",
			CryptVolume{Cipher: "aes-cbc-essiv:sha256", KeyBytes: 16, InTable: true, Offset: 4096}, false},
		{"aes-xts-plain64 :64:logon:d 8 254:0 32768 5 allow_discards same_cpu_crypt sector_size:4096 iv_large_sectors no_write_workqueue",
			CryptVolume{Cipher: "aes-xts-plain64", KeyBytes: 64, IVOffset: 8, Offset: 32768, SectorSize: 4096, Options: []string{"allow_discards", "sector_size:4096", "iv_large_sectors"}}, false},
		{"capi:authenc(hmac(sha256),xts(aes))-random :96:logon:d 0 253:0 0 1 integrity:48:aead",
			CryptVolume{Cipher: "capi:authenc(hmac(sha256),xts(aes))-random", KeyBytes: 96, Options: []string{"integrity:48:aead"}}, true},
	} {
		c, integrity, err := parseCrypt(tt.params)
		if err != nil {
			t.Errorf("%s: %v", tt.params, err)
			continue
		}
		if c.Cipher != tt.want.Cipher || c.KeyBytes != tt.want.KeyBytes || c.InTable != tt.want.InTable || c.IVOffset != tt.want.IVOffset ||
			c.Offset != tt.want.Offset || c.SectorSize != tt.want.SectorSize || !slices.Equal(c.Options, tt.want.Options) || integrity != tt.integrity {
			t.Errorf("%s: got %+v, %v", tt.params, c, integrity)
		}
	}
	// The errors do not contain the key.
	for _, params := range []string{"", "aes " + secret, "aes " + secret + " x 8:0 0", "aes " + secret + " 0 8:0 x", "aes :x:logon:d 0 8:0 0", "aes " + secret + " 0 8:0 0 1 sector_size:1000"} {
		if _, _, err := parseCrypt(params); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", params, err)
		}
	}
}

func TestParseSegments(t *testing.T) {
	const segments = `{"0":{"type":"crypt","offset":"16777216"}}`
	if got, err := parseSegments([]byte(`{"keyslots":{},"segments":` + segments + `,"config":{}}`)); got != segments || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"", "x", "{}", `{"segments":`} {
		if got, err := parseSegments([]byte(text)); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzParseCrypt(f *testing.F) {
	f.Add("aes-xts-plain64 :64:logon:cryptsetup:u-d0 0 254:0 32768 1 allow_discards")
	f.Add("aes-xts-plain64 0011 0 254:0 32768")
	f.Fuzz(func(t *testing.T, params string) {
		c, _, err := parseCrypt(params)
		if err == nil && c.Cipher == "" {
			t.Errorf("%q: %+v", params, c)
		}
		if table, err := parseTable("0 8 crypt " + params); err == nil && len(table) == 0 {
			t.Errorf("%q: empty table", params)
		}
	})
}

func TestCrypttab(t *testing.T) {
	const (
		uuid    = "00000000-0000-4000-8000-000000000001"
		tab     = "/etc/crypttab"
		initial = "/etc/crypttab.initramfs"
		kernel  = "rd.luks.options= of the kernel's command line"
		link    = "link-volume-key=@u::%logon:x"
	)
	for _, tt := range []struct {
		text string
		want Crypttab
	}{
		{"# " + "root UUID=" + uuid + " none luks\n", Crypttab{}},
		{"other UUID=1111 none link-volume-key=@u::%logon:x\n", Crypttab{}},
		{"root /dev/vda2\n", Crypttab{Where: tab}},
		{"root /dev/vda2 none luks,discard\n", Crypttab{Where: tab}},
		{"root /dev/vda2 none luks,link-volume-key=@u::%logon:kdump:x,discard\n", Crypttab{tab, "kdump:x"}},
		{"other UUID=" + uuid + " none link-volume-key=@u::%logon:x\n", Crypttab{tab, "x"}},
		{"other UUID=\"" + strings.ToUpper(uuid) + "\" none link-volume-key=@u::%logon:x\n", Crypttab{tab, "x"}},
		{"other /dev/disk/by-uuid/" + uuid + " none link-volume-key=@u::%logon:x\n", Crypttab{tab, "x"}},
		// The kernel looks for a logon key, and in no other keyring of root.
		{"root /dev/vda2 none link-volume-key=@u::%user:x\n", Crypttab{Where: tab}},
		{"root /dev/vda2 none link-volume-key=@u::x\n", Crypttab{Where: tab}},
		{"root /dev/vda2 none link-volume-key=@s::%logon:x\n", Crypttab{Where: tab}},
	} {
		if got := machine(t, map[string]string{"etc/crypttab": tt.text}).Crypttab("root", uuid); got != tt.want {
			t.Errorf("%q: got %+v, want %+v", tt.text, got, tt.want)
		}
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  Crypttab
	}{
		{"none", nil, Crypttab{}},
		{"of the initramfs", map[string]string{initial: "root UUID=" + uuid + " none " + link + "\n"}, Crypttab{initial, "x"}},
		{"of the initramfs, not of the system", map[string]string{tab: "root UUID=" + uuid + "\n", initial: "root UUID=" + uuid + " none " + link + "\n"}, Crypttab{initial, "x"}},
		{"of the system, not of the initramfs", map[string]string{tab: "root UUID=" + uuid + " none " + link + "\n", initial: "root UUID=" + uuid + "\n"}, Crypttab{tab, "x"}},
		{"command line", map[string]string{"/proc/cmdline": "quiet rd.luks.options=" + uuid + "=discard," + link + "\n"}, Crypttab{kernel, "x"}},
		{"command line, by another name", map[string]string{"/proc/cmdline": "luks.options=luks-" + uuid + "=" + link}, Crypttab{kernel, "x"}},
		{"command line, of all", map[string]string{"/proc/cmdline": "rd.luks.options=discard," + link}, Crypttab{kernel, "x"}},
		{"command line, of all but those with a line", map[string]string{tab: "root /dev/vda2\n", "/proc/cmdline": "rd.luks.options=" + link}, Crypttab{Where: tab}},
		{"command line, of another", map[string]string{"/proc/cmdline": "rd.luks.options=00000000-0000-4000-8000-000000000002=" + link}, Crypttab{}},
	} {
		if got := machine(t, tt.files).Crypttab("root", uuid); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

package builder

import (
	"errors"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/host"
	"ukdump/internal/plan"
)

const (
	luksID = "00000000-0000-4000-8000-000000000001"
	dm0    = "sys/devices/virtual/block/dm-0/"
)

func TestLUKS(t *testing.T) {
	m := buildtest.New(t)
	m.AddLUKS()
	b := newBuild(t, m)
	buildtest.Golden(t, "luks.txt", describe(t, m, b))
	data, err := b.Plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	buildtest.Golden(t, "luks.json", data)
}

func TestLUKSVolume(t *testing.T) {
	const linked = "kdump-cryptsetup:vk-" + luksID
	m := buildtest.New(t)
	m.AddLUKS()
	for _, tt := range []struct {
		name     string
		change   func()
		want     plan.CryptVolume
		warnings string
	}{
		{"crypttab with another description", func() {
			m.Write("etc/crypttab", "luks-root /dev/vda none link-volume-key=@u::%logon:mine\n")
		}, plan.CryptVolume{KeyDescription: "mine", KeyBytes: 64}, ""},
		{"no crypttab", func() { m.Remove("etc/crypttab") }, plan.CryptVolume{KeyDescription: linked, KeyBytes: 64}, ""},
		{"crypttab without the option", func() { m.Write("etc/crypttab", "luks-root /dev/vda none luks\n") },
			plan.CryptVolume{KeyDescription: linked, KeyBytes: 64},
			"the next boot will not leave the volume key of luks-root for the capture kernel: add link-volume-key=@u::%logon:" + linked + " to its options in /etc/crypttab"},
		// A volume that ends before its device does.
		{"short", func() { m.Write(dm0+"dm/table", "0 4096 crypt aes-xts-plain64 :64:logon:x 0 254:0 32768\n") },
			plan.CryptVolume{KeyDescription: linked, KeyBytes: 64, Sectors: 4096}, ""},
		{"key in the table", func() {
			m.Write("etc/crypttab", "luks-root /dev/vda none luks\n")
			m.Write(dm0+"dm/table", "0 4096 crypt aes-xts-plain64 "+secretKey+" 0 254:0 32768\n")
		}, plan.CryptVolume{KeyDescription: linked, KeyBytes: 32, Sectors: 4096}, ""},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			tt.change()
			b := newBuild(t, m)
			got := b.Plan.Targets[0].Layers[0].Crypt
			if got.KeyDescription != tt.want.KeyDescription || got.KeyBytes != tt.want.KeyBytes || got.Sectors != tt.want.Sectors {
				t.Errorf("got %+v", got)
			}
			if w := strings.Join(b.Warnings, "\n"); w != tt.warnings {
				t.Errorf("warnings %q", w)
			}
			data, err := b.Plan.Encode()
			if err != nil || strings.Contains(string(data), secretKey) {
				t.Errorf("the plan has the key: %s, %v", data, err)
			}
			if files := string(describe(t, m, b)); strings.Contains(files, secretKey) {
				t.Errorf("the build tells the key: %s", files)
			}
		})
	}
}

const secretKey = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestLUKSKernel(t *testing.T) {
	m := buildtest.New(t)
	m.AddLUKS()
	conf := "boot/config-" + buildtest.Release
	for _, tt := range []struct {
		name   string
		change func()
	}{
		{"not set", func() {
			m.Write(conf, strings.ReplaceAll(m.Read(conf), "CONFIG_CRASH_DM_CRYPT=y", "# CONFIG_CRASH_DM_CRYPT is not set"))
		}},
		{"too old to have it, configuration unknown", func() { m.Remove(conf) }},
	} {
		m.Run(t, tt.name, func(t *testing.T) {
			tt.change()
			_, err := New(options(t, m))
			var unsupported *cryptkeys.UnsupportedError
			if !errors.As(err, &unsupported) {
				t.Fatalf("got %v", err)
			}
			want := "LUKS volume luks-root: kernel " + m.Root + "/boot/vmlinuz-" + buildtest.Release + " (" + buildtest.Release +
				") cannot open an encrypted volume without its passphrase: it lacks CONFIG_CRASH_DM_CRYPT, which Linux has since 6.16"
			if err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			for _, choice := range []string{"TARGET=", "raw partition", "EVIDENCE="} {
				if !strings.Contains(unsupported.Advice(), choice) {
					t.Errorf("advice without %s", choice)
				}
			}
		})
	}
}

// Evidence is saved elsewhere, even if no dump can be.
func TestLUKSEvidenceOnly(t *testing.T) {
	m := buildtest.New(t)
	m.AddLUKS()
	m.AddDisk()
	m.Remove("boot/config-" + buildtest.Release)
	m.Write("etc/ukdump.conf", "EVIDENCE=/srv/log\n")
	b := newBuild(t, m)
	if len(b.Plan.Targets) != 0 || len(b.Plan.Evidence) != 1 || b.Plan.Evidence[0].Dir != "/srv/log" {
		t.Errorf("targets %+v, evidence %+v", b.Plan.Targets, b.Plan.Evidence)
	}
	w := strings.Join(b.Warnings, "\n")
	if !strings.Contains(w, "CONFIG_CRASH_DM_CRYPT") || !strings.Contains(w, "only log and report are saved") {
		t.Errorf("warnings %s", w)
	}
	data, err := b.Plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Parse(data); err != nil {
		t.Error(err)
	}
	m.Write("etc/ukdump.conf", "EVIDENCE=pstore\n")
	if _, err := New(options(t, m)); !errors.As(err, new(*cryptkeys.UnsupportedError)) {
		t.Errorf("pstore alone: %v", err)
	}
}

func TestCryptRequests(t *testing.T) {
	for cipher, want := range map[string]string{
		"aes-xts-plain64":                "dm-crypt crypto-aes crypto-xts",
		"aes-cbc-essiv:sha256":           "dm-crypt crypto-aes crypto-cbc crypto-essiv crypto-sha256",
		"capi:xts(aes)-plain64":          "dm-crypt crypto-xts crypto-aes",
		"serpent-xts-plain64be":          "dm-crypt crypto-serpent crypto-xts",
		"xchacha12,aes-adiantum-plain64": "dm-crypt crypto-xchacha12 crypto-aes crypto-nhpoly1305|crypto-adiantum crypto-adiantum",
		"aes-hctr2-plain64":              "dm-crypt crypto-aes crypto-xctr|crypto-hctr2 crypto-polyval|crypto-hctr2 crypto-hctr2",
	} {
		var got []string
		for _, r := range cryptRequests(cipher, "x") {
			got = append(got, strings.Join(r.Names, "|"))
			if r.Optional == (r.Names[0] == "dm-crypt") {
				t.Errorf("%s: %+v", cipher, r)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %s, want %s", cipher, s, want)
		}
	}
}

// A snapshot of a file system on an assembled device is never mistaken for it.
func TestCopyOfAssembled(t *testing.T) {
	m := buildtest.New(t)
	m.AddLUKS()
	fs := newBuild(t, m).Plan.Targets[0].Filesystem
	const dir = "sys/devices/virtual/block/dm-9"
	m.Write(dir+"/dev", "254:9\n")
	m.Write(dir+"/dm/uuid", "LVM-snapshot\n")
	m.Link("sys/class/block/dm-9", "../../devices/virtual/block/dm-9")
	m.Write("run/udev/data/b254:9", "E:ID_FS_TYPE="+fs.Type+"\nE:ID_FS_UUID="+fs.UUID+"\n")
	h, err := host.Open(m.Root)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := h.Storage("/var/crash"); err != nil || len(s.Copies) != 1 {
		t.Fatalf("got %+v, %v, want a copy", s, err)
	}
	if w := newBuild(t, m).Warnings; len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

package bootloader

import (
	"strings"
	"testing"
)

func TestNixOS(t *testing.T) {
	s := tree(t, map[string]string{
		"/etc/NIXOS": "", "/etc/os-release": "NAME=NixOS\nID=nixos\nVERSION_ID=\"25.11\"\n", "/etc/nixos/configuration.nix": "{ }\n",
		nixosParams: "root=fstab loglevel=4 crashkernel=1M\n",
	})
	f, err := nixos{}.Find(s)
	if err != nil || f.Booted != Yes || f.Version != "25.11" || f.Because != "/etc/NIXOS exists" || len(f.Files) != 1 {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, c := range []struct {
		edit Edit
		want string
	}{
		{setCrash, "Put this into the configuration of NixOS, in place of other words with crashkernel, and run: nixos-rebuild boot\n" +
			`boot.kernelParams = [ "crashkernel=512M,high" "crashkernel=64M,low" ];`},
		{removeCrash, "Remove crashkernel from boot.kernelParams in the configuration of NixOS, and boot.crashDump if it is enabled, and run: nixos-rebuild boot"},
		{Edit{Name: "crashkernel", Words: []string{"crashkernel=1M"}}, ""},
	} {
		p, err := nixos{}.Plan(s, c.edit)
		if err != nil || p.Manual != c.want || len(p.Files)+len(p.Commands) > 0 {
			t.Errorf("%q: got %+v, %v", c.edit.Words, p, err)
		}
	}
	compareLines(t, cmdlines(t, nixos{}, s), "*NixOS "+nixosParams+": root=fstab loglevel=4 crashkernel=1M")

	s = tree(t, map[string]string{"/usr/lib/os-release": "ID=nixos\n"})
	if f, err := (nixos{}).Find(s); err != nil || f.Because != "os-release has ID=nixos" {
		t.Errorf("got %+v, %v", f, err)
	}
	compareLines(t, cmdlines(t, nixos{}, s))
}

func FuzzNixString(f *testing.F) {
	f.Add(`a="b ${c}" \`)
	f.Add("$${x}\n\t$")
	f.Fuzz(func(t *testing.T, text string) {
		got := nixString(text)
		if back := unquoteNix(got); back != text {
			t.Fatalf("%q: %s is %q", text, got, back)
		}
	})
}

// unquoteNix reads a string of Nix; one that would be expanded or ends early is "".
func unquoteNix(s string) string {
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(s[i])
			}
		case s[i] == '"', s[i] == '\\', strings.HasPrefix(s[i:], "${"):
			return ""
		case strings.HasPrefix(s[i:], "$$"): // the second one is literal, even before {
			b.WriteByte('$')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

package makedumpfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/vmcore"
)

// debian13 is a part of the VMCOREINFO of Debian 13 on arm64.
const debian13 = `OSRELEASE=6.12.118+deb13-arm64
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffffc14c02f1e8a8
SYMBOL(_stext)=ffffc14c00010000
OFFSET(uts_namespace.name)=0
NUMBER(VA_BITS)=52
NUMBER(MAX_PHYSMEM_BITS)=52
NUMBER(TCR_EL1_T1SZ)=0x10
NUMBER(kimage_voffset)=0xffffc14bc0000000
KERNELOFFSET=414b80000000
`

func TestInfoArgs(t *testing.T) {
	const corrected = `KERNELOFFSET=414b80000000
NUMBER(MAX_PHYSMEM_BITS)=48
NUMBER(TCR_EL1_T1SZ)=0x10
NUMBER(VA_BITS)=48
NUMBER(kimage_voffset)=0xffffc14bc0000000
OFFSET(uts_namespace.name)=0
OSRELEASE=6.12.118+deb13-arm64
PAGESIZE=4096
SYMBOL(_stext)=ffff800080010000
SYMBOL(init_uts_ns)=ffff800082f1e8a8
`
	with := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(debian13) }
	for _, tt := range []struct {
		name, info, want string // "" for no file
	}{
		{"48 of 52 bits", debian13, corrected},
		{"48 physical ones", with("PHYSMEM_BITS)=52", "PHYSMEM_BITS)=48"), corrected},
		{"16 KiB", with("4096", "16384", "0x10", "0x11"), strings.NewReplacer("4096", "16384", "0x10", "0x11", "VA_BITS)=48", "VA_BITS)=47").Replace(corrected)},
		{"no KASLR", with("KERNELOFFSET=414b80000000", "KERNELOFFSET=0", "c14c0", "80008"),
			strings.Replace(corrected, "414b80000000", "0", 1)},
		{"no offset", with("KERNELOFFSET=414b80000000\n", "", "c14c0", "80008"), strings.Replace(corrected, "KERNELOFFSET=414b80000000\n", "", 1)},
		{"a bad symbol", with("ffffc14c00010000", "x"), strings.Replace(corrected, "ffff800080010000", "x", 1)},

		{"52 of 52 bits", with("0x10", "0xc"), ""},
		{"48 of 48 bits", with("VA_BITS)=52", "VA_BITS)=48"), ""},
		{"64 KiB", with("4096", "65536"), ""},
		{"39 bits", with("0x10", "0x19"), ""},
		{"47 bits with 4 KiB", with("0x10", "0x11"), ""},
		{"48 bits with 16 KiB", with("4096", "16384"), ""},
		{"bits that no processor has", with("0x10", "0x40"), ""},
		{"before 5.9", with("NUMBER(TCR_EL1_T1SZ)=0x10\n", ""), ""},
		{"amd64", "OSRELEASE=6.12\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff81000000\n", ""},
		{"empty", "", ""},
	} {
		path := filepath.Join(t.TempDir(), "vmcoreinfo")
		args, err := InfoArgs(vmcore.ParseInfo([]byte(tt.info)), path)
		got, _ := os.ReadFile(path)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v, got\n%swant\n%s", tt.name, err, got, tt.want)
		}
		want := ""
		if tt.want != "" {
			want = "-i " + path
		}
		if strings.Join(args, " ") != want {
			t.Errorf("%s: arguments %q, want %s", tt.name, args, want)
		}
	}
	if args, err := InfoArgs(vmcore.ParseInfo([]byte(debian13)), "/nowhere/vmcoreinfo"); args != nil || err == nil {
		t.Errorf("without a directory: %q, %v", args, err)
	}
}

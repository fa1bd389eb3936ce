package host

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseUdev(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"a value", "E:ID_FS_UUID=abc\n", "abc"},
		{"without an end", "E:ID_FS_UUID=abc", "abc"},
		{"an equals sign", "E:ID_FS_UUID=a=b\n", "a=b"},
		{"a blank at the end", "E:ID_FS_UUID=a \n", "a "},
		{"the last one counts", "E:ID_FS_UUID=a\nE:ID_FS_UUID=b\n", "b"},
		{"other lines", "S:disk/by-uuid/x\nI:1\nG:systemd\nV:1\nE:ID_FS_UUID=a\n", "a"},
		{"no value", "E:ID_FS_UUID\n", ""},
		{"not at the beginning of the line", " E:ID_FS_UUID=a\n", ""},
		{"an escape", "E:ID_FS_UUID=a\x1b[2J\n", ""},
		{"a carriage return", "E:ID_FS_UUID=a\r\n", ""},
		{"C1", "E:ID_FS_UUID=a\u009b31m\n", ""},
		{"not UTF-8", "E:ID_FS_UUID=a\x9b31m\n", ""},
		{"NUL", "E:ID_FS_UUID=a\x00b\n", ""},
		{"hostile after a good one", "E:ID_FS_UUID=a\nE:ID_FS_UUID=\x07\n", "a"},
		{"other letters", "E:ID_FS_UUID=é容\n", "é容"},
	} {
		if got := parseUdev(tt.data)["ID_FS_UUID"]; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// udevSeeds are entries of the udev database.
var udevSeeds = []string{
	"S:disk/by-id/x\nE:ID_PART_ENTRY_UUID=The-Second\n",
	"E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=another\nE:ID_FS_UUID_SUB=x\n",
	"E:ID_PART_ENTRY_UUID=\x1b[2J\n",
	"E:ID_PART_ENTRY_UUID=a\nE:ID_PART_ENTRY_UUID=b=\u009b\nE:=\nE:\n",
	"E:ID_PART_ENTRY_TYPE=0xef\nE:ID_PART_ENTRY_SCHEME=dos\nE:ID_PART_ENTRY_UUID=1-2",
	strings.Repeat("E:ID_FS_UUID=x\n", 1000),
}

// FuzzParseUdev reads an entry. The properties have no control characters, and survive
// writing and reading again.
func FuzzParseUdev(f *testing.F) {
	for _, s := range udevSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		props := parseUdev(data)
		var again strings.Builder
		for k, v := range props {
			if strings.ContainsFunc(v, isControl) {
				t.Errorf("%s is %q", k, v)
			}
			again.WriteString("E:" + k + "=" + v + "\n")
		}
		if got := parseUdev(again.String()); !maps.Equal(got, props) {
			t.Errorf("got %q, read again %q", props, got)
		}
	})
}

// FuzzUdev writes an entry for a swap partition. The content of the partition is that of
// its superblock, and no entry hides that. Nothing with control characters gets into a
// plan or a message.
func FuzzUdev(f *testing.F) {
	for _, s := range udevSeeds {
		f.Add(s)
	}
	h := machine(f, divided(swapSpace(), nil))
	f.Fuzz(func(t *testing.T, data string) {
		if err := os.WriteFile(filepath.Join(h.root, "run/udev/data/b8:2"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := h.Raw(parsed(t, "raw:/dev/sda2"), false)
		if err != nil {
			if err := err.Error(); strings.ContainsFunc(err, isControl) {
				t.Errorf("the error has control characters: %q", err)
			}
			return
		}
		if r.Type != "swap" || r.UUID != swapUUID || strings.ContainsFunc(r.PartUUID, isControl) {
			t.Errorf("got %+v", r)
		}
	})
}

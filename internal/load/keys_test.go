package load

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/cli"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/dm"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// The kernel's own copy of the keys counts if it opens more than the keyring does.
func TestChooseKeys(t *testing.T) {
	t.Parallel()
	target := func(name string) plan.Target {
		return plan.Target{Dir: "/" + name, Layers: []plan.Layer{{Name: name, Crypt: &plan.CryptVolume{KeyDescription: name}}}}
	}
	plain := plan.Target{Dir: "/plain"}
	for _, tt := range []struct {
		name      string
		targets   []plan.Target
		evidence  []plan.Target
		taken     []string // keys of the loaded set
		ring      []string
		want      []string
		fails     bool
		notOpened []string // warned of
	}{
		{"all there", []plan.Target{target("a"), target("b")}, nil, nil, []string{"a", "b"}, []string{"a", "b"}, false, nil},
		{"one there", []plan.Target{target("a"), target("b")}, nil, nil, []string{"b"}, []string{"b"}, false, []string{"/a"}},
		{"none there", []plan.Target{target("a"), target("b")}, nil, nil, nil, nil, true, nil},
		{"taken", []plan.Target{target("a"), target("b")}, nil, []string{"a", "b"}, nil, []string{"a", "b"}, false, nil},
		{"one taken", []plan.Target{target("a"), target("b")}, nil, []string{"a"}, nil, []string{"a"}, false, []string{"/b"}},
		{"one taken, evidence", []plan.Target{target("a")}, []plan.Target{target("b"), plain}, []string{"a"}, []string{"b"}, []string{"a"}, false, []string{"/b"}},
		{"one taken, one plain", []plan.Target{target("a"), plain}, []plan.Target{target("b")}, []string{"a"}, nil, []string{"a"}, false, []string{"/b"}},
		{"one taken, the other there", []plan.Target{target("a"), target("b")}, nil, []string{"a"}, []string{"b"}, []string{"b"}, false, []string{"/a"}},
		{"another taken", []plan.Target{target("a")}, nil, []string{"c"}, nil, nil, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := buildtest.New(t)
			m.Write("sys/kernel/config/crash_dm_crypt_keys/reuse", "0")
			ring := buildtest.Keyring{}
			for _, d := range tt.ring {
				ring[d] = true
			}
			var stderr bytes.Buffer
			ld := &Loader{
				Out: &cli.Program{Name: "kdumpctl", Stderr: &stderr}, Root: m.Root, Store: state.Store{Root: m.Root}, Slot: kexec.New(m.Root),
				Keys: &cryptkeys.Handover{Root: m.Root, Ring: ring, Table: func(cryptkeys.Key) []byte { return nil }},
			}
			l := &state.LoadRecord{BootID: ld.Store.BootID()}
			for _, d := range tt.taken {
				m.Write("sys/kernel/kexec_crash_loaded", "1\n")
				l.Keys = append(l.Keys, cryptkeys.Key{Description: d})
			}
			ld.remember(l)
			keys, err := ld.chooseKeys(&plan.Plan{Targets: tt.targets, Evidence: tt.evidence})
			if got := descriptions(keys); !slices.Equal(got, tt.want) || (err != nil) != tt.fails {
				t.Errorf("got %q, %v", got, err)
			}
			for _, dir := range []string{"/a", "/b", "/plain"} {
				if strings.Contains(stderr.String(), "warning: "+dir+" cannot be opened") != slices.Contains(tt.notOpened, dir) {
					t.Errorf("warned %s", &stderr)
				}
			}
		})
	}
}

func TestTableKey(t *testing.T) {
	for _, tt := range []struct {
		target dm.Target
		want   string
	}{
		{dm.Target{Type: "crypt", Params: "aes-xts-plain64 0011aabb 0 8:0 0"}, "\x00\x11\xaa\xbb"},
		{dm.Target{Type: "crypt", Params: "aes-xts-plain64 :4:logon:d 0 8:0 0"}, ""},
		{dm.Target{Type: "crypt", Params: "aes-xts-plain64 0011 0 8:0 0"}, ""},
		{dm.Target{Type: "crypt", Params: "aes-xts-plain64 00zzaabb 0 8:0 0"}, ""},
		{dm.Target{Type: "linear", Params: "x 0011aabb"}, ""},
		{dm.Target{Type: "crypt"}, ""},
	} {
		if got := tableKey(tt.target, 4); string(got) != tt.want {
			t.Errorf("%+v: %x", tt.target, got)
		}
	}
}

func TestCryptName(t *testing.T) {
	m := buildtest.New(t)
	m.AddLUKS()
	const id = "00000000-0000-4000-8000-000000000001"
	if got := host.CryptName(m.Root, id); got != "luks-root" {
		t.Errorf("got %q", got)
	}
	if got := host.CryptName(m.Root, "1111"); got != "" {
		t.Errorf("got %q", got)
	}
	if key := KeyInTable(m.Root)(cryptkeys.Key{UUID: id, Bytes: 64}); key != nil {
		t.Errorf("key %x of a machine that is not this one", key)
	}
}

package cryptkeys

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ring is a keyring with the keys of these descriptions.
type ring struct {
	keys    map[string]error // why a key cannot be had; nil if it can
	added   []string
	err     error // of enter
	entered int
}

func (r *ring) Enter() (func(), error) {
	if r.err != nil {
		return nil, r.err
	}
	r.entered++
	return func() { r.entered-- }, nil
}

func (r *ring) Find(description string) error {
	if err, ok := r.keys[description]; ok {
		return err
	}
	return unix.ENOKEY
}

func (r *ring) Add(description string, secret []byte) error {
	r.added = append(r.added, description+" "+string(secret))
	return nil
}

var (
	rootKey = Key{Volume: "luks-root", UUID: "1111", Description: Description("1111"), Bytes: 64}
	dataKey = Key{Volume: "luks-data", UUID: "2222", Description: "mine", Bytes: 32}
)

// kernel is a kernel with the interface below a root.
type kernel struct {
	*Handover
	ring  *ring
	items map[string]string // description by item, when a capture kernel was loaded
	reuse string            // of that time
	loads int
	err   error // result of a load
	crash bool  // a capture kernel with keys is loaded
}

func newKernel(t *testing.T, keys ...Key) *kernel {
	t.Helper()
	k := &kernel{ring: &ring{keys: map[string]error{}}}
	for _, key := range keys {
		k.ring.keys[key.Description] = nil
	}
	k.Handover = &Handover{
		Root:  t.TempDir(),
		Mount: func(string) error { t.Error("configfs was mounted"); return nil },
		Table: func(Key) []byte { return nil },
		Ring:  k.ring,
	}
	k.Write = func(file, value string) error {
		if filepath.Base(file) == "reuse" && !k.crash {
			return unix.EINVAL
		}
		return write(file, value)
	}
	k.configfs(t)
	return k
}

func (k *kernel) configfs(t *testing.T) {
	t.Helper()
	dir := filepath.Join(k.Root, interfaceDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "reuse"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (k *kernel) dir() string { return filepath.Join(k.Root, interfaceDir) }

func (k *kernel) load(t *testing.T) func() error {
	return func() error {
		if k.ring.entered != 1 {
			t.Error("not in the keyring")
		}
		k.loads++
		k.items = map[string]string{}
		list, _ := filepath.Glob(filepath.Join(k.dir(), "*", "description"))
		for _, f := range list {
			b, _ := os.ReadFile(f)
			k.items[filepath.Base(filepath.Dir(f))] = string(b)
		}
		b, _ := os.ReadFile(filepath.Join(k.dir(), "reuse"))
		k.reuse = strings.TrimSpace(string(b))
		k.crash = k.err == nil || k.err == unix.EBUSY && k.crash
		return k.err
	}
}

// clean reports whether nothing of ours is left.
func (k *kernel) clean(t *testing.T) {
	t.Helper()
	if list, _ := filepath.Glob(filepath.Join(k.dir(), "ukdump-*")); len(list) > 0 {
		t.Errorf("left: %v", list)
	}
	if k.ring.entered != 0 {
		t.Error("still in the keyring")
	}
}

func TestLoad(t *testing.T) {
	k := newKernel(t, rootKey, dataKey)
	// Remains of a run that was killed.
	for _, item := range []string{"ukdump-0", "ukdump-7"} {
		if err := os.Mkdir(filepath.Join(k.dir(), item), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Load([]Key{rootKey, dataKey}, nil, k.load(t)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"ukdump-0": rootKey.Description, "ukdump-1": dataKey.Description}
	if !maps.Equal(k.items, want) || k.reuse != "0" || len(k.ring.added) != 0 {
		t.Errorf("items %v, reuse %s, added %v", k.items, k.reuse, k.ring.added)
	}
	k.clean(t)
}

// The kernel takes every item, so with one of somebody else it is not asked.
func TestLoadForeign(t *testing.T) {
	k := newKernel(t, rootKey)
	theirs := filepath.Join(k.dir(), "theirs")
	if err := os.Mkdir(theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]Key{{rootKey}, nil} {
		err := k.Load(keys, nil, k.load(t))
		foreign := (*ForeignError)(nil)
		if !errors.As(err, &foreign) || foreign.Item != theirs || !strings.Contains(foreign.Advice(), "rmdir "+theirs+",") || k.loads > 0 {
			t.Errorf("%d keys: %v, %d loads", len(keys), err, k.loads)
		}
		k.clean(t)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
}

// A key that goes between the look and the load is named, and no other cause of
// such an error is taken for it.
func TestLoadKeyGoes(t *testing.T) {
	for _, errno := range []error{unix.ENOKEY, unix.EKEYEXPIRED, unix.EKEYREVOKED} {
		k := newKernel(t, rootKey)
		k.err = errno
		if err := k.Load([]Key{rootKey}, nil, k.load(t)); err != errno {
			t.Errorf("%v with the key: %v", errno, err)
		}
		load := k.load(t)
		missing := (*MissingError)(nil)
		err := k.Load([]Key{rootKey}, nil, func() error { k.ring.keys[rootKey.Description] = errno; return load() })
		if !errors.As(err, &missing) || missing.Err != errno {
			t.Errorf("%v without the key: %v", errno, err)
		}
		k.clean(t)
	}
}

// Without encrypted volumes nothing is asked for.
func TestLoadWithoutKeys(t *testing.T) {
	k := newKernel(t)
	k.ring.err = errors.New("asked")
	k.Root = filepath.Join(k.Root, "none")
	n := 0
	if err := k.Load(nil, nil, func() error { n++; return unix.EBUSY }); err != unix.EBUSY || n != 1 {
		t.Errorf("%v, %d loads", err, n)
	}
	if err := k.Check(nil, nil); err != nil {
		t.Error(err)
	}
	// Items that are left would be asked for.
	k = newKernel(t)
	if err := os.Mkdir(filepath.Join(k.dir(), "ukdump-0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := k.Load(nil, nil, func() error { k.clean(t); return nil }); err != nil {
		t.Error(err)
	}
}

// A load that fails leaves nothing behind either.
func TestLoadFails(t *testing.T) {
	k := newKernel(t, rootKey)
	k.err = unix.EADDRNOTAVAIL
	if err := k.Load([]Key{rootKey}, nil, k.load(t)); err != unix.EADDRNOTAVAIL {
		t.Errorf("got %v", err)
	}
	k.clean(t)
}

// A hotplug event comes when the key is long gone.
func TestLoadReuse(t *testing.T) {
	k := newKernel(t, dataKey)
	k.crash = true
	both := []Key{rootKey, dataKey}
	if err := k.Check(both, []Key{dataKey, rootKey}); err != nil {
		t.Error(err)
	}
	if err := k.Load(both, []Key{dataKey, rootKey}, k.load(t)); err != nil {
		t.Fatal(err)
	}
	if len(k.items) != 2 || k.reuse != "1" {
		t.Errorf("items %v, reuse %s", k.items, k.reuse)
	}
	if b, err := os.ReadFile(filepath.Join(k.dir(), "reuse")); err != nil || string(b) != "0" {
		t.Errorf("reuse is %q afterwards, %v", b, err)
	}
	k.clean(t)
}

// A load that drops the capture kernel leaves the kernel with its copy of the keys,
// for the next one in place of it, unless it has freed that.
func TestLoadReuseFails(t *testing.T) {
	both := []Key{rootKey, dataKey}
	for _, tt := range []struct {
		first error
		then  string // reuse of the next load, "" if that cannot be
	}{{unix.EKEYREJECTED, "1"}, {unix.ENOMEM, "1"}, {unix.EADDRNOTAVAIL, ""}} {
		k := newKernel(t, dataKey)
		k.crash, k.err = true, tt.first
		if err := k.Load(both, both, k.load(t)); err != tt.first || k.reuse != "1" {
			t.Errorf("%v: got %v, reuse %s", tt.first, err, k.reuse)
		}
		k.err = nil
		err := k.Check(both, nil)
		if err == nil {
			err = k.Load(both, nil, k.load(t))
		}
		if missing := (*MissingError)(nil); tt.then == "" && !errors.As(err, &missing) || tt.then != "" && (err != nil || k.loads != 2 || k.reuse != tt.then) {
			t.Errorf("after %v: got %v, %d loads, reuse %s", tt.first, err, k.loads, k.reuse)
		}
		if b, err := os.ReadFile(filepath.Join(k.dir(), "reuse")); tt.then != "" && (err != nil || string(b) != "0") {
			t.Errorf("after %v: reuse is %q afterwards, %v", tt.first, b, err)
		}
		// Other keys are not among those.
		if missing := (*MissingError)(nil); !errors.As(k.Check([]Key{rootKey}, nil), &missing) {
			t.Errorf("after %v: another key is there", tt.first)
		}
		k.clean(t)
	}
	// The loaded capture kernel has its keys, so nothing more is held.
	k := newKernel(t, dataKey)
	k.crash, k.err = true, unix.EBUSY
	if err := k.Load(both, both, k.load(t)); err != unix.EBUSY || k.held != nil {
		t.Errorf("got %v, held %v", err, k.held)
	}
}

// Where the kernel would continue with an old copy, a second load gets the keys that
// the keyring has.
func TestLoadAfterReuse(t *testing.T) {
	k := newKernel(t, rootKey)
	if err := write(filepath.Join(k.dir(), "reuse"), "1"); err != nil {
		t.Fatal(err)
	}
	if err := k.Load([]Key{rootKey}, nil, k.load(t)); err != nil || k.loads != 2 || k.reuse != "0" {
		t.Errorf("got %v, %d loads, reuse %s", err, k.loads, k.reuse)
	}
	k.clean(t)
	if err := k.Load([]Key{rootKey}, nil, k.load(t)); err != nil || k.loads != 3 {
		t.Errorf("got %v, %d loads", err, k.loads)
	}
}

// A key that is there is taken from the keyring: it may have changed since.
func TestLoadPrefersKeyring(t *testing.T) {
	k := newKernel(t, rootKey)
	if err := k.Load([]Key{rootKey}, []Key{rootKey}, k.load(t)); err != nil || k.reuse != "0" {
		t.Errorf("reuse %s, %v", k.reuse, err)
	}
}

// A key that the table shows is lent to the kernel for the load.
func TestLoadFromTable(t *testing.T) {
	k := newKernel(t)
	secret := []byte("secret")
	k.Table = func(Key) []byte { return secret }
	if err := k.Load([]Key{dataKey}, nil, k.load(t)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(k.ring.added, []string{"mine secret"}) {
		t.Errorf("added %q", k.ring.added)
	}
	if string(secret) != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("still in memory: %q", secret)
	}
	k.clean(t)
}

func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{unix.ENOKEY, "the volume key of luks-root (LUKS 1111) is not in root's keyring"},
		{unix.EKEYEXPIRED, "the volume key of luks-root (LUKS 1111) is not in root's keyring any more: expired"},
		{unix.EKEYREVOKED, "the volume key of luks-root (LUKS 1111) is not in root's keyring any more: revoked"},
		{unix.EACCES, "the volume key of luks-root (LUKS 1111) is not in root's keyring: permission denied"},
	} {
		k := newKernel(t, dataKey)
		k.ring.keys[rootKey.Description] = tt.err
		for _, err := range []error{
			k.Load([]Key{dataKey, rootKey}, []Key{dataKey}, k.load(t)),
			k.Check([]Key{dataKey, rootKey}, []Key{dataKey}),
		} {
			missing := (*MissingError)(nil)
			if !errors.As(err, &missing) || err.Error() != tt.want {
				t.Errorf("got %v", err)
				continue
			}
			const line = "link-volume-key=@u::%logon:kdump-cryptsetup:vk-1111 to the line of luks-root in /etc/crypttab"
			const once = "cryptsetup open --test-passphrase --link-vk-to-keyring '@u::%logon:kdump-cryptsetup:vk-1111' UUID=1111"
			if a := missing.Advice(); !strings.Contains(a, line) || !strings.Contains(a, once) {
				t.Errorf("advice %s", a)
			}
		}
		if k.loads > 0 {
			t.Error("the kernel was asked to load")
		}
		k.clean(t)
	}
}

func TestConfigfs(t *testing.T) {
	newBare := func(t *testing.T) *kernel {
		k := newKernel(t, rootKey)
		if err := os.RemoveAll(filepath.Join(k.Root, interfaceDir)); err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := newBare(t)
	k.Mount = func(dir string) error {
		if want := filepath.Join(k.Root, "sys/kernel/config"); dir != want {
			t.Errorf("mounted on %s", dir)
		}
		k.configfs(t)
		return nil
	}
	if err := k.Load([]Key{rootKey}, nil, k.load(t)); err != nil || len(k.items) != 1 {
		t.Errorf("mounted by us: %v, items %v", err, k.items)
	}
	for _, tt := range []struct {
		mount       error
		unsupported bool
	}{{nil, true}, {syscall.ENODEV, true}, {fs.ErrNotExist, true}, {syscall.EBUSY, true}, {syscall.EPERM, false}} {
		k := newBare(t)
		k.Mount = func(string) error { return tt.mount }
		for _, err := range []error{k.Load([]Key{rootKey}, nil, k.load(t)), k.Check([]Key{rootKey}, nil)} {
			unsupported := (*UnsupportedError)(nil)
			if err == nil || errors.As(err, &unsupported) != tt.unsupported {
				t.Errorf("mount %v: got %v", tt.mount, err)
			}
		}
		if k.loads > 0 {
			t.Error("the kernel was asked to load")
		}
	}
}

func TestTooMany(t *testing.T) {
	k := newKernel(t)
	if err := k.Load(make([]Key, maxKeys+1), nil, k.load(t)); err == nil || k.loads > 0 {
		t.Errorf("got %v", err)
	}
}

// The kernel's own keyrings, where a sandbox lets us use them.
func TestKernelKeyring(t *testing.T) {
	var ring kernelKeyring
	done, err := ring.Enter()
	if err != nil {
		t.Skip(err)
	}
	const description = "ukdump-test:key"
	if err := ring.Find(description); err != unix.ENOKEY {
		t.Errorf("before: %v", err)
	}
	if err := ring.Add(description, []byte("secret")); err != nil {
		t.Error(err)
	}
	if err := ring.Find(description); err != nil {
		t.Errorf("added: %v", err)
	}
	done()
	if done, err = ring.Enter(); err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := ring.Find(description); err != unix.ENOKEY {
		t.Errorf("after: %v", err)
	}
}

package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/initramfs"
	"ukdump/internal/crashdir"
	"ukdump/test/debian"
)

// encrypted are targets on LUKS volumes. Their mount scripts open the volume first.
var encrypted = map[string]layout{
	"luks2":                onLUKS(ext4),
	"ext4-on-luks2-small":  onLUKS(ext4),
	"btrfs-on-luks2-small": onLUKS("mkfs.btrfs -q -f -L target"),
	// One page is encrypted at a time, and the volume ends before its device.
	"luks2-4k-partition": {
		n: 1,
		make: "part=$(partition $target) && echo secret | cryptsetup luksFormat -q --type luks2 --sector-size 4096 --pbkdf pbkdf2 " +
			"--pbkdf-force-iterations 1000 $part - && echo secret | cryptsetup open --key-file=- $part secret && " +
			ext4 + " /dev/mapper/secret && cryptsetup close secret",
		mount: "luks_on && " + mountTarget,
	},
	"lvm-on-luks2": {
		n: 1,
		make: "luks $target && vg /dev/mapper/secret && lvcreate $lvm -n target -L 1g ukdump && " + ext4 + " /dev/ukdump/target && " +
			"vgchange $lvm -an ukdump && cryptsetup close secret",
		mount: "luks_on && vg_on && " + mountTarget,
	},
	"lvm-on-2-luks2": {
		n: 2,
		make: "luks $target && luks $target2 secret2 && vg /dev/mapper/secret /dev/mapper/secret2 && lvcreate $lvm -n target -i 2 -L 1g ukdump && " +
			ext4 + " /dev/ukdump/target && vgchange $lvm -an ukdump && cryptsetup close secret && cryptsetup close secret2",
		mount: "luks_on && vg_on && " + mountTarget,
	},
	// Each leg of the mirror shows the header too.
	"luks2-on-lvm-raid1": {
		n: 2,
		make: "vg $target $target2 && lvcreate $lvm -n mirror --type raid1 -m 1 --nosync -L 1g ukdump && luks /dev/ukdump/mirror && " + ext4 +
			" /dev/mapper/secret && cryptsetup close secret && vgchange $lvm -an ukdump",
		mount: "vg_on && luks_on && " + mountTarget,
	},
	// The swap of a machine with an encrypted root is encrypted too.
	"swap-on-luks2": {
		n:     1,
		make:  "luks $target && mkswap -q /dev/mapper/secret && cryptsetup close secret",
		mount: "luks_on && " + rawSwap("/dev/mapper/secret"),
	},
	"swap-on-lvm-on-luks2": {
		n: 1,
		make: "luks $target && vg /dev/mapper/secret && lvcreate $lvm -n target -L 1g ukdump && mkswap -q /dev/ukdump/target && " +
			"vgchange $lvm -an ukdump && cryptsetup close secret",
		mount: "luks_on && vg_on && " + rawSwap("/dev/ukdump/target"),
	},
}

// onLUKS is a file system on a volume that takes the whole disk.
func onLUKS(mkfs string) layout {
	return layout{
		n:     1,
		make:  "luks $target && " + mkfs + " /dev/mapper/secret && cryptsetup close secret",
		mount: "luks_on && " + mountTarget,
	}
}

// smallEncrypted are those of them that the capture kernel of packaging/capture-kernel
// captures, and the size of its reservation.
var smallEncrypted = map[string]string{
	"ext4-on-luks2-small":  "crashkernel=48M",
	"btrfs-on-luks2-small": "crashkernel=48M",
}

// rawSwap sends dumps to swap, which this kernel does not use, and collects
// them after the crash.
func rawSwap(device string) string {
	return "echo '" + device + " none swap sw 0 0' >>/etc/fstab && echo TARGET=raw:swap >/etc/ukdump.conf.d/zz.conf && kdumpctl collect"
}

// TestLUKS crashes machines whose dumps go to an encrypted volume. Nobody types a
// passphrase after the crash, and only kernels have the volume key.
func TestLUKS(t *testing.T) {
	if set := os.Getenv("UKDUMP_VM"); set != "luks" {
		t.Skip("needs a kernel that is built for it: run make test-luks")
	}
	root, payload := lab(t, "sid")
	repo, err := debian.Repository()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := debian.MakeKernel(t.Context(), repo, "luks", os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("layout", func(t *testing.T) {
		for name, l := range encrypted {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				h := debian.Hardware{Root: root, Flavour: debian.Generic}
				for _, name := range l.disks() {
					h.Disks = append(h.Disks, debian.Disk{Name: name})
				}
				m, err := debian.New(t.Context(), name, h)
				if err != nil {
					t.Fatal(err)
				}
				payload, words := payload, reservation
				if small := smallEncrypted[name]; small != "" {
					words = small
					if payload, err = captures["small-sid"].addTo(t.Context(), payload, m); err != nil {
						t.Fatal(err)
					}
				}
				if err := crashEncrypted(t.Context(), m, l, kernel, payload, words); err != nil {
					t.Fatalf("%v\n--- its disks and logs are kept in %s", err, m.Dir)
				}
				if err := m.Remove(); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func crashEncrypted(ctx context.Context, m *debian.Machine, l layout, kernel *debian.TestKernel, payload debian.Payload, words string) error {
	mark := "mark-" + rand.Text()
	dir := filepath.Join(m.Dir, "running")
	if err := kernel.Install(dir); err != nil {
		return err
	}
	payload.Trees = append(payload.Trees[:len(payload.Trees):len(payload.Trees)], dir)
	payload = payload.With("ukdump-test/cell", l.script(mark))
	payload.Run = ". /ukdump-test/luks\n"
	crash, err := m.Boot(ctx, debian.Boot{
		Name: "crash", Init: debian.Quick, Kernel: kernel.Image(), Payload: payload, Deadline: bootLimit,
		Cmdline: words + " panic=5 printk.devkmsg=on",
	})
	if err != nil {
		return err
	}
	if err := crash.Wait(); err != nil {
		return err
	}
	if err := checkCrashed(crash, mark); err != nil {
		return err
	}
	console := strings.Join(crash.Console(), "\n")
	before, err := m.Results()
	if err != nil {
		return err
	}
	keys, err := volumeKeys(filepath.Join(before, "ukdump-test/out"))
	if err == nil && len(keys) == 0 {
		err = errors.New("no volume key to look for")
	}
	if err != nil {
		return err
	}
	target := "/var/crash"
	if strings.Contains(l.mount, "TARGET=raw:swap") {
		target = "raw:swap"
	}
	if err := checkMessages(filepath.Join(before, "ukdump-test/out"), target); err != nil {
		return err
	}
	if err := findKeys(before, console, keys); err != nil {
		return err
	}

	payload.Run = ". /ukdump-test/after\n"
	after, err := m.Boot(ctx, debian.Boot{
		Name: "after", Init: debian.Quick, Kernel: kernel.Image(), Payload: payload, Deadline: bootLimit,
		Cmdline: "panic=5 printk.devkmsg=on",
	})
	if err != nil {
		return err
	}
	if err := after.Wait(); err != nil {
		return err
	}
	if err := after.Expect("ukdump-test: results written", 0); err != nil {
		return err
	}
	results, err := m.Results()
	if err != nil {
		return err
	}
	if err := checkDump(results, mark, cell{}); err != nil {
		return crash.Fail("%v", err)
	}
	return findKeys(results, console, keys)
}

const volumeKey = "volume-key-" // begins the names of files that hold one

func volumeKeys(dir string) (keys [][]byte, err error) {
	names, err := filepath.Glob(filepath.Join(dir, volumeKey+"*"))
	for _, name := range names {
		key, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, err
}

func findKeys(dir, console string, keys [][]byte) error {
	for _, key := range keys {
		if err := findKey(dir, console, key); err != nil {
			return err
		}
	}
	return nil
}

// checkMessages checks kdumpctl's messages before the crash.
func checkMessages(out, target string) error {
	for name, want := range map[string][]string{
		"without-key": {
			target + " cannot be opened after a crash: the volume key of secret (LUKS ", " is not in root's keyring; nothing is loaded now",
			"kdumpctl: Add the option link-volume-key=@u::%logon:kdump-cryptsetup:vk-", "to the line of secret in /etc/crypttab",
		},
		"with-key": {"loaded ", "dumps go to " + target},
		"hotplug":  {"again in "},
		"status":   {"capture kernel  loaded"},
	} {
		b, err := os.ReadFile(filepath.Join(out, name+".txt"))
		if err != nil {
			return err
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				return fmt.Errorf("%s: %q is not in %s", name, w, b)
			}
		}
	}
	return nil
}

// findKey searches all files below dir for the bytes of a volume key. It skips
// the copy of the key and dumps of memory, where dm-crypt had the key.
func findKey(dir, console string, key []byte) error {
	if len(key) < 32 {
		return fmt.Errorf("a volume key of %d bytes", len(key))
	}
	files := 0
	has := func(b []byte) bool {
		lower := bytes.ToLower(b)
		// Half of the key is enough: aes-xts has two keys.
		for _, half := range [][]byte{key[:16], key[len(key)-16:]} {
			if bytes.Contains(b, half) || bytes.Contains(lower, []byte(hex.EncodeToString(half))) ||
				bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString(half[:15]))) {
				return true
			}
		}
		return false
	}
	if has([]byte(console)) {
		return fmt.Errorf("the console has the volume key")
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), volumeKey) || d.Name() == crashdir.Vmcore {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if files++; has(b) {
			return fmt.Errorf("%s has the volume key", path)
		}
		if !strings.HasPrefix(d.Name(), "initramfs-") && !strings.HasPrefix(d.Name(), "image-") {
			return nil
		}
		im := initramfs.Open(bytes.NewReader(b))
		for {
			e, err := im.Next()
			if err == io.EOF {
				return nil
			}
			if err == nil {
				b, err = io.ReadAll(im)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if has(b) {
				return fmt.Errorf("%s in %s has the volume key", e.Path, path)
			}
		}
	})
	if err == nil && files < 4 {
		err = fmt.Errorf("only %d files to look at", files)
	}
	return err
}

// findKey must find a key that is there.
func TestFindKey(t *testing.T) {
	key := []byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/")
	var im initramfs.Image
	if err := im.AddFile("etc/key", key, 0o600); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := im.Write(&packed, initramfs.Gzip); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"none":           "nothing",
		"raw":            "x" + string(key) + "x",
		"half":           string(key[48:]),
		"hex":            hex.EncodeToString(key),
		"HEX":            strings.ToUpper(hex.EncodeToString(key)),
		"initramfs-x":    packed.String(),
		crashdir.Vmcore:  string(key), // not a secret in a dump of memory
		"report.json":    `{"key":"` + base64.StdEncoding.EncodeToString(key) + `"}`,
		"image-1234abcd": packed.String(),
	} {
		dir := t.TempDir()
		for _, n := range []string{"a", "b", "c", "d"} {
			if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		found := findKey(dir, "", key) != nil
		if want := name != "none" && name != crashdir.Vmcore; found != want {
			t.Errorf("%s: found is %v", name, found)
		}
	}
	if findKey(t.TempDir(), hex.EncodeToString(key), key) == nil {
		t.Error("not found on the console")
	}
}

package kimage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/internal/host"
)

func machine(t *testing.T, root string) Machine {
	t.Helper()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFindByRelease(t *testing.T) {
	kernel := bz(x86Version6, gz(nil))
	for _, name := range []string{
		"usr/lib/modules/" + release + "/vmlinuz",
		"lib/modules/" + release + "/vmlinuz",
		"usr/lib/modules/" + release + "/Image",
		"boot/vmlinuz-" + release,
		"boot/Image-" + release,
		"boot/kernel-" + release,
		"boot/0123456789abcdef/" + release + "/linux",
		"efi/0123456789abcdef/" + release + "/linux",
		"boot/vmlinuz-linux",
		"boot/Image.gz",
		"boot/EFI/Linux/arch-linux.efi",
		"efi/EFI/Linux/fedora.efi",
		"boot/efi/EFI/Linux/fedora.efi",
		"run/booted-system/kernel",
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "a[b]*") // taken literally
			data := kernel
			if strings.HasSuffix(name, ".efi") {
				data = peFile(".linux", kernel, 0)
			}
			write(t, root, name, data)
			// Others that must not be taken.
			write(t, root, "boot/vmlinuz", bz("6.0.0\x00", gz(nil)))
			write(t, root, "boot/vmlinuz-broken", nil)
			im, err := Find(machine(t, root), root, release)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(root, name); im.Path != want || im.Release != release {
				t.Errorf("found %s of %s, want %s", im.Path, im.Release, want)
			}
		})
	}
}

func TestFindOrder(t *testing.T) {
	root := t.TempDir()
	write(t, root, "usr/lib/modules/"+release+"/vmlinuz", []byte("damaged"))
	write(t, root, "lib/modules/"+release+"/vmlinuz", bz("6.0.0\x00", gz(nil)))
	_, err := Find(machine(t, root), root, release)
	var none *NotFoundError
	if !errors.As(err, &none) || len(none.Errs) != 2 || !errors.As(err, new(*TruncatedError)) {
		t.Fatalf("got %v; want a NotFoundError with two reasons", err)
	}
	for _, text := range []string{release, root, "boot/vmlinuz-" + release, "boot/EFI/Linux/*.efi", "is of release 6.0.0"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not contain %q: %v", text, err)
		}
	}
	write(t, root, "boot/vmlinuz-linux", bz(x86Version6, gz(nil)))
	if im, err := Find(machine(t, root), root, release); err != nil || im.Path != filepath.Join(root, "boot/vmlinuz-linux") {
		t.Errorf("got %+v, %v", im, err)
	}
}

func TestFindByPath(t *testing.T) {
	root := t.TempDir()
	write(t, root, "boot/my-kernel", bz(x86Version6, gz(nil)))
	if im, err := Find(machine(t, root), root, "/boot/my-kernel"); err != nil || im.Release != release {
		t.Errorf("absolute path: %+v, %v", im, err)
	}
	t.Chdir(root)
	if im, err := Find(nil, "/elsewhere", "./boot/my-kernel"); err != nil || im.Release != release {
		t.Errorf("relative path: %+v, %v", im, err)
	}
	if _, err := Find(machine(t, root), root, "/boot/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, spec := range []string{"", ".", "..", "vmlinuz", "6.1 x", "6.1\n"} {
		if _, err := Find(machine(t, root), root, spec); err == nil || !strings.Contains(err.Error(), "neither a path") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

// The links of another machine are not followed on this one.
func TestFindThroughLinks(t *testing.T) {
	root := t.TempDir()
	write(t, root, "store/kernel", bz(x86Version6, gz(nil)))
	write(t, root, "store/config", []byte("CONFIG_A=y\n"))
	for name, target := range map[string]string{"vmlinuz": "/store/kernel", "vmlinuz-" + release: "/store/kernel", "config-" + release: "/store/config"} {
		write(t, root, "boot/x", nil)
		if err := os.Symlink(target, filepath.Join(root, "boot", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, spec := range []string{release, "/boot/vmlinuz"} {
		im, err := Find(machine(t, root), root, spec)
		if err != nil || filepath.Dir(im.Path) != filepath.Join(root, "boot") {
			t.Fatalf("%s: got %+v, %v", spec, im, err)
		}
		c, err := im.Config(machine(t, root), root)
		if err != nil || c.Get("CONFIG_A") != "y" || c.Source != filepath.Join(root, "boot/config-"+release) {
			t.Errorf("got %+v, %v", c, err)
		}
	}
}

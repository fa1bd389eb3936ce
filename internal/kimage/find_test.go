package kimage

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

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
			im, err := Find(root, release)
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
	_, err := Find(root, release)
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
	if im, err := Find(root, release); err != nil || im.Path != filepath.Join(root, "boot/vmlinuz-linux") {
		t.Errorf("got %+v, %v", im, err)
	}
}

func TestFindByPath(t *testing.T) {
	root := t.TempDir()
	write(t, root, "boot/my-kernel", bz(x86Version6, gz(nil)))
	if im, err := Find(root, "/boot/my-kernel"); err != nil || im.Release != release {
		t.Errorf("absolute path: %+v, %v", im, err)
	}
	t.Chdir(root)
	if im, err := Find("/elsewhere", "./boot/my-kernel"); err != nil || im.Release != release {
		t.Errorf("relative path: %+v, %v", im, err)
	}
	if _, err := Find(root, "/boot/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, spec := range []string{"", ".", "..", "vmlinuz", "6.1 x", "6.1\n"} {
		if _, err := Find(root, spec); err == nil || !strings.Contains(err.Error(), "neither a path") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

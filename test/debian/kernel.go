package debian

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ukdump/internal/kmod"
)

// Kernel installs a kernel of the root disk below dir, with its configuration and its
// modules, and returns its release.
func (r *Root) Kernel(f Flavour, dir string) (release string, err error) {
	if release, err = r.Release(f); err != nil {
		return "", err
	}
	boot, modules := filepath.Join(dir, "boot"), filepath.Join(dir, "usr/lib/modules")
	for _, d := range []string{boot, modules} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	image, err := os.ReadFile(r.vmlinuz(f))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(boot, "vmlinuz-"+release), image, 0o644); err != nil {
		return "", err
	}
	// The partition begins at 1 MiB (scripts/rootdisk). debugfs(8) reports on
	// standard error that it cannot chown files to root, and ends with 0
	// anyway.
	for _, command := range []string{
		"dump /boot/config-" + release + " " + filepath.Join(boot, "config-"+release),
		"rdump /usr/lib/modules/" + release + " " + modules,
	} {
		if out, err := exec.Command("debugfs", "-R", command, r.disk()+"?offset=1048576").CombinedOutput(); err != nil {
			return "", fmt.Errorf("debugfs %s: %w\n%s", command, err, out)
		}
	}
	for _, file := range []string{filepath.Join(boot, "config-"+release), filepath.Join(modules, release, "modules.dep")} {
		if _, err := os.Stat(file); err != nil {
			return "", err
		}
	}
	return release, nil
}

// TestKernel is a kernel that scripts/testkernel has built.
type TestKernel struct {
	Dir     string // the script lists its files
	Release string // as uname -r prints it
}

// MakeKernel returns the kernel of a variant of scripts/testkernel. If the
// cache has none, it builds the kernel, which takes long. repo is the top of
// the source tree; progress gets the output of the script.
func MakeKernel(ctx context.Context, repo, variant string, progress io.Writer) (*TestKernel, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(repo, "scripts/testkernel"), variant)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, progress
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("make kernel %s: %w", variant, err)
	}
	k := &TestKernel{Dir: strings.TrimSpace(out.String())}
	release, err := os.ReadFile(filepath.Join(k.Dir, "release"))
	k.Release = strings.TrimSpace(string(release))
	return k, err
}

// Image returns the path of the kernel's image.
func (k *TestKernel) Image() string { return filepath.Join(k.Dir, "vmlinuz") }

// Install installs the kernel and its modules below dir, as a package would.
func (k *TestKernel) Install(dir string) error {
	boot := filepath.Join(dir, "boot")
	if err := os.MkdirAll(boot, 0o755); err != nil {
		return err
	}
	for name, file := range map[string]string{"vmlinuz-": "vmlinuz", "config-": "config"} {
		data, err := os.ReadFile(filepath.Join(k.Dir, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(boot, name+k.Release), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	// A monolithic kernel has none.
	modules := os.DirFS(filepath.Join(k.Dir, "modules"))
	if _, err := fs.Stat(modules, "modules.dep"); err != nil {
		return nil
	}
	return os.CopyFS(filepath.Join(dir, "usr/lib/modules", k.Release), modules)
}

// InstallSmall installs the variant small below dir, as its package would.
func (k *TestKernel) InstallSmall(ctx context.Context, repo, dir string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(repo, "packaging/capture-kernel/build"), "--install", k.Dir, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install kernel %s: %w\n%s", k.Release, err, out)
	}
	return nil
}

// RepackModules compresses the modules below dir with zstd, in place of any
// other compression, and changes modules.dep to match.
func RepackModules(dir, release string) error {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	err = filepath.WalkDir(filepath.Join(dir, "usr/lib/modules", release), func(p string, d fs.DirEntry, err error) error {
		name, ext, ok := strings.Cut(p, ".ko")
		if err != nil || !ok || !d.Type().IsRegular() || ext == ".zst" {
			return err
		}
		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if ext != "" {
			if raw, err = kmod.Unpack(raw, ext); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
		if err := os.WriteFile(name+".ko.zst", w.EncodeAll(raw, nil), 0o644); err != nil {
			return err
		}
		return os.Remove(p)
	})
	if err != nil {
		return err
	}
	// depmod looks below lib/, and reads zstd only if it was built with it.
	// Only the names in the existing table have to change.
	tables := filepath.Join(dir, "usr/lib/modules", release, "modules.dep")
	b, err := os.ReadFile(tables)
	if err != nil {
		return err
	}
	for _, ext := range []string{".ko.xz", ".ko.gz"} {
		b = bytes.ReplaceAll(b, []byte(ext), []byte(".ko.zst"))
	}
	if !bytes.Contains(b, []byte(".ko.zst")) {
		return fmt.Errorf("%s: no module is compressed", tables)
	}
	return os.WriteFile(tables, b, 0o644)
}

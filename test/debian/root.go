// Package debian makes machines that run a plain Debian. Each suite has a
// cached root disk with two kernels. Each test has an overlay on that disk, a
// payload that is unpacked over the root before it starts, and a disk on which
// the guest leaves its results. Nothing here needs root on the host.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ukdump/internal/vmtest"
)

// Flavour is one of the two kernels that every root disk has, or of the third that those
// of arm64 have but bookworm's.
type Flavour string

// The flavours of Debian's kernel: linux-image-amd64 has ext4 and virtio as modules,
// linux-image-cloud-amd64 has them built in. linux-image-cloud-arm64 has some of the
// drivers of linux-image-arm64, as modules.
const (
	Generic Flavour = "generic"
	Cloud   Flavour = "cloud"

	Pages16K Flavour = "16k" // arm64 with pages of 16 KiB
)

// Root is the root disk of a suite. Tests share it and never write to it.
type Root struct {
	Suite string // bookworm, trixie, sid; bookworm-stock, trixie-arm64 and so on
	Dir   string // scripts/rootdisk lists its files
}

// MakeRoot returns the root disk of suite. If the cache has none, it makes one, which
// takes about a minute and downloads about 200 MB. With "-stock" after its name the
// disk also has the distribution's own initramfs, with "-dracut" one made by dracut, with
// "-arm64" it is that of an arm64 machine, which cannot boot systemd. repo is the top of
// the source tree; progress gets the output of scripts/rootdisk, with the reason of a
// failure.
func MakeRoot(ctx context.Context, repo, suite string, progress io.Writer) (*Root, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(repo, "scripts/rootdisk"), strings.Split(suite, "-")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, progress
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("make root disk of %s: %w", suite, err)
	}
	return &Root{Suite: suite, Dir: strings.TrimSpace(out.String())}, nil
}

// Packages downloads packages of the root's suite, and those that they need beyond the
// packages of the root. It returns the directory of the files, which the cache keeps.
func (r *Root) Packages(ctx context.Context, repo string, names []string, progress io.Writer) (string, error) {
	suite, _, _ := strings.Cut(r.Suite, "-")
	cmd := exec.CommandContext(ctx, filepath.Join(repo, "scripts/debs"), append([]string{r.Dir, suite}, names...)...)
	cmd.Stderr = progress
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("packages %s of %s: %w", strings.Join(names, " "), r.Suite, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Arch returns the architecture of the root's programs and kernels.
func (r *Root) Arch() vmtest.Arch { return ArchOf(r.Suite) }

// ArchOf returns the architecture of the suite that MakeRoot is asked for.
func ArchOf(suite string) vmtest.Arch {
	if strings.HasSuffix(suite, "-arm64") {
		return vmtest.ARM64
	}
	return vmtest.AMD64
}

func (r *Root) disk() string             { return filepath.Join(r.Dir, "disk.img") }
func (r *Root) vmlinuz(f Flavour) string { return filepath.Join(r.Dir, string(f)+".vmlinuz") }
func (r *Root) initrd(f Flavour) string  { return filepath.Join(r.Dir, string(f)+".initrd") }

// Release returns the release of a kernel, as uname -r prints it.
func (r *Root) Release(f Flavour) (string, error) {
	b, err := os.ReadFile(filepath.Join(r.Dir, string(f)+".release"))
	return strings.TrimSpace(string(b)), err
}

// Repository returns the top of the source tree around the working directory.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("not inside the source tree")
}

// Install runs "make install" for arch into a new directory below dir and returns it.
func Install(ctx context.Context, repo, dir string, arch vmtest.Arch) (string, error) {
	staging := filepath.Join(dir, "install-"+string(arch))
	args := []string{"-s", "-C", repo, "install", "DESTDIR=" + staging, "PREFIX=/usr"}
	if arch != vmtest.AMD64 {
		// bin/ has the programs of this machine.
		args = append(args, "BIN="+filepath.Join(dir, "bin-"+string(arch)))
	}
	cmd := exec.CommandContext(ctx, "make", args...)
	// This make must not get the flags of a make that runs the test.
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=", "GOARCH="+string(arch))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make install: %w\n%s", err, out)
	}
	return staging, nil
}

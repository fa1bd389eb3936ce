package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ukdump/test/debian"
)

// capture is a capture kernel that differs from the running one.
type capture struct {
	suite   string
	flavour debian.Flavour // empty: the running kernel
	zstd    bool           // its modules are .ko.zst
	built   string         // a variant of scripts/testkernel instead of Debian's
}

var captures = map[string]capture{
	"bookworm-generic": {suite: "bookworm", flavour: debian.Generic},
	"bookworm-cloud":   {suite: "bookworm", flavour: debian.Cloud},
	"sid-generic":      {suite: "sid", flavour: debian.Generic},
	"sid-cloud":        {suite: "sid", flavour: debian.Cloud},
	"zstd":             {zstd: true},
	"monolithic":       {built: "monolithic"},
}

// addTo adds the kernel to the payload of a machine and configures it.
func (k capture) addTo(ctx context.Context, p debian.Payload, m *debian.Machine) (debian.Payload, error) {
	dir := filepath.Join(m.Dir, "kernel")
	release, err := k.install(ctx, m, dir)
	if err != nil {
		return p, err
	}
	p.Trees = append(p.Trees[:len(p.Trees):len(p.Trees)], dir)
	return p.With("etc/ukdump.conf.d/kernel.conf", "KERNEL="+release+"\n"), nil
}

// install copies the kernel below dir, as a package would have installed it, and
// returns its release.
func (k capture) install(ctx context.Context, m *debian.Machine, dir string) (release string, err error) {
	repo, err := debian.Repository()
	if err != nil {
		return "", err
	}
	if k.built != "" {
		kernel, err := debian.MakeKernel(ctx, repo, k.built, os.Stdout)
		if err != nil {
			return "", err
		}
		return kernel.Release, kernel.Install(dir)
	}
	root, flavour := m.Root(), m.Flavour()
	if k.flavour != "" {
		if root, err = debian.MakeRoot(ctx, repo, k.suite, os.Stdout); err != nil {
			return "", err
		}
		flavour = k.flavour
	}
	if release, err = root.Kernel(flavour, dir); err != nil {
		return "", err
	}
	if k.zstd {
		if err := debian.RepackModules(dir, release); err != nil {
			return "", fmt.Errorf("modules in zstd: %w", err)
		}
	}
	return release, nil
}

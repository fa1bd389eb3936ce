package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ukdump/internal/setup"
	"ukdump/test/debian"
)

// capture is a capture kernel that differs from the running one.
type capture struct {
	suite   string
	flavour debian.Flavour           // empty: the running kernel
	zstd    bool                     // its modules are .ko.zst
	built   string                   // a variant of scripts/testkernel instead of Debian's
	own     bool                     // it is that of packaging/capture-kernel, installed as its script does
	sign    func(image string) error // changes its signature
}

var captures = map[string]capture{
	"bookworm-generic": {suite: "bookworm", flavour: debian.Generic},
	"bookworm-cloud":   {suite: "bookworm", flavour: debian.Cloud},
	"sid-generic":      {suite: "sid", flavour: debian.Generic},
	"sid-cloud":        {suite: "sid", flavour: debian.Cloud},
	"signed":           {suite: "bookworm", flavour: debian.Cloud, sign: debian.Sign},
	"unsigned":         {suite: "bookworm", flavour: debian.Cloud, sign: debian.Unsign},
	"zstd":             {zstd: true},
	"monolithic":       {built: "monolithic"},
	"small":            {built: "small", own: true},
	"small-sid":        {built: "small-sid", own: true}, // LUKS needs 6.16
	"small-arm64":      {built: "small-arm64", own: true},
}

// running has the kernels that machines run in place of Debian's, variants of
// scripts/testkernel, and what they have, in words for the table.
var running = map[string]string{
	"file-arm64":    "kexec_file_load",
	"file64k-arm64": "kexec_file_load and pages of 64 KiB",
}

// runs installs a kernel of running on a machine and returns its image.
func runs(ctx context.Context, p debian.Payload, m *debian.Machine, variant string) (debian.Payload, string, error) {
	repo, err := debian.Repository()
	if err != nil {
		return p, "", err
	}
	kernel, err := debian.MakeKernel(ctx, repo, variant, os.Stdout)
	if err != nil {
		return p, "", err
	}
	dir := filepath.Join(m.Dir, "running")
	p.Trees = append(p.Trees[:len(p.Trees):len(p.Trees)], dir)
	return p, kernel.Image(), kernel.Install(dir)
}

// addTo adds the kernel to the payload of a machine and configures it.
func (k capture) addTo(ctx context.Context, p debian.Payload, m *debian.Machine) (debian.Payload, error) {
	dir := filepath.Join(m.Dir, "kernel")
	spec, err := k.install(ctx, m, dir)
	if err != nil {
		return p, err
	}
	p.Trees = append(p.Trees[:len(p.Trees):len(p.Trees)], dir)
	return p.With("etc/ukdump.conf.d/kernel.conf", "KERNEL="+spec+"\n"), nil
}

// install copies the kernel below dir, as a package would have installed it, and
// returns the value of KERNEL= for it.
func (k capture) install(ctx context.Context, m *debian.Machine, dir string) (spec string, err error) {
	repo, err := debian.Repository()
	if err != nil {
		return "", err
	}
	if k.built != "" {
		kernel, err := debian.MakeKernel(ctx, repo, k.built, os.Stdout)
		if err != nil {
			return "", err
		}
		if k.own {
			return setup.CaptureKernel, kernel.InstallSmall(ctx, repo, dir)
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
	release, err := root.Kernel(flavour, dir)
	if err != nil {
		return "", err
	}
	if k.sign != nil {
		if err := k.sign(filepath.Join(dir, "boot/vmlinuz-"+release)); err != nil {
			return "", err
		}
	}
	if k.zstd {
		if err := debian.RepackModules(dir, release); err != nil {
			return "", fmt.Errorf("modules in zstd: %w", err)
		}
	}
	return release, nil
}

package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ukdump/test/debian"
)

// capture is a capture kernel other than the installed one that is running.
type capture struct {
	suite   string
	flavour debian.Flavour // empty: the running kernel
	zstd    bool           // its modules are .ko.zst
}

var captures = map[string]capture{
	"bookworm-generic": {suite: "bookworm", flavour: debian.Generic},
	"bookworm-cloud":   {suite: "bookworm", flavour: debian.Cloud},
	"sid-generic":      {suite: "sid", flavour: debian.Generic},
	"sid-cloud":        {suite: "sid", flavour: debian.Cloud},
	"zstd":             {zstd: true},
}

// addTo adds the kernel to the payload of a machine and configures it.
func (k capture) addTo(ctx context.Context, p debian.Payload, m *debian.Machine) (debian.Payload, error) {
	root, flavour := m.Root(), m.Flavour()
	if k.flavour != "" {
		repo, err := debian.Repository()
		if err != nil {
			return p, err
		}
		if root, err = debian.MakeRoot(ctx, repo, k.suite, os.Stdout); err != nil {
			return p, err
		}
		flavour = k.flavour
	}
	dir := filepath.Join(m.Dir, "kernel")
	release, err := root.Kernel(flavour, dir)
	if err != nil {
		return p, err
	}
	if k.zstd {
		if err := debian.RepackModules(dir, release); err != nil {
			return p, fmt.Errorf("modules in zstd: %w", err)
		}
	}
	p.Trees = append(p.Trees[:len(p.Trees):len(p.Trees)], dir)
	return p.With("etc/ukdump.conf.d/kernel.conf", "KERNEL="+release+"\n"), nil
}

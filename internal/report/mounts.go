package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxMounts = 1000 // in a report
	maxDepth  = 256  // directories in a path, and mounts below each other
	maxPath   = 4096 // PATH_MAX
)

// mounts reads the file systems that PID 1 sees.
func (m *maker) mounts() error {
	first, err := m.pid1()
	if err != nil {
		return err
	}
	proxy, err := m.k.Value(first, "task_struct", "nsproxy")
	if err != nil {
		return err
	}
	ns, err := m.k.Value(proxy, "nsproxy", "mnt_ns")
	if err != nil {
		return err
	}
	list, failed := m.mountList(ns)
	if len(list) > maxMounts {
		failed = fmt.Errorf("there are more than %d", maxMounts)
		list = list[:maxMounts]
	}
	mounts := []Mount{}
	for _, at := range list {
		mount, err := m.mount(at)
		if err != nil {
			failed = err
			continue
		}
		if mount.Type == "rootfs" && len(list) > 1 {
			continue // the root of the initramfs is below all others
		}
		mounts = append(mounts, mount)
	}
	return keep(&m.r.Mounts, mounts, failed)
}

// pid1 returns the task with PID 1, or that of the kernel if it is gone.
func (m *maker) pid1() (uint64, error) {
	for _, t := range m.all {
		if t.id.PID == 1 {
			return t.addr, nil
		}
	}
	return m.k.Lookup("init_task")
}

// mountList returns the structures mount of a namespace: a list before 6.8, then a tree.
func (m *maker) mountList(ns uint64) ([]uint64, error) {
	if m.types.HasField("mnt_namespace", "list") {
		off, err := m.types.Offset("mnt_namespace", "list")
		if err != nil {
			return nil, err
		}
		list, err := m.k.List(ns+off, "mount", "mnt_list", maxMounts+1)
		const cursor = 0x10000000 // MNT_CURSOR, 5.8 to 6.7: the place of a reader of the list
		return slices.DeleteFunc(list, func(at uint64) bool { return m.field(at, "mount", "mnt.mnt_flags")&cursor != 0 }), err
	}
	root, err := m.k.Value(ns, "mnt_namespace", "mounts.rb_node")
	if err != nil {
		return nil, err
	}
	off, err := m.types.Offset("mount", "mnt_node")
	if err != nil {
		return nil, err
	}
	nodes, err := m.tree(root, maxMounts+1)
	for i := range nodes {
		nodes[i] -= off
	}
	return nodes, err
}

// tree returns the nodes of a red-black tree from left to right, at most most.
func (m *maker) tree(root uint64, most int) (nodes []uint64, err error) {
	const maxHeight = 128 // twice the logarithm of the number of nodes
	var stack []uint64
	for at := root; at != 0 || len(stack) > 0; {
		for at != 0 {
			if len(stack) >= maxHeight {
				return nodes, errors.New("damaged tree")
			}
			stack = append(stack, at)
			if at, err = m.k.Value(at, "rb_node", "rb_left"); err != nil {
				return nodes, err
			}
		}
		at, stack = stack[len(stack)-1], stack[:len(stack)-1]
		if nodes = append(nodes, at); len(nodes) >= most {
			return nodes, nil
		}
		if at, err = m.k.Value(at, "rb_node", "rb_right"); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// mount reads a mount: fs/mount.h, include/linux/mount.h.
func (m *maker) mount(at uint64) (out Mount, err error) {
	const mntReadonly, sbRdonly = 0x40, 1 // MNT_READONLY, SB_RDONLY
	name, err := m.k.Value(at, "mount", "mnt_devname")
	if err != nil {
		return out, err
	}
	if name != 0 {
		if out.Source, err = m.k.String(name, maxPath); err != nil {
			return out, err
		}
	}
	sb, err := m.k.Value(at, "mount", "mnt.mnt_sb")
	if err != nil {
		return out, err
	}
	typ, err := m.k.Value(sb, "super_block", "s_type")
	if err != nil {
		return out, err
	}
	if name, err = m.k.Value(typ, "file_system_type", "name"); err != nil {
		return out, err
	}
	if out.Type, err = m.k.String(name, maxName); err != nil {
		return out, err
	}
	flags, err := m.k.Value(at, "mount", "mnt.mnt_flags")
	if err != nil {
		return out, err
	}
	super, err := m.k.Value(sb, "super_block", "s_flags")
	if err != nil {
		return out, err
	}
	out.ReadOnly = flags&mntReadonly != 0 || super&sbRdonly != 0
	out.Dir, err = m.mountDir(at)
	return out, err
}

// mountDir returns the directory of a mount: the names from its mount point up to the root of
// the mount that has it, and so on.
func (m *maker) mountDir(at uint64) (string, error) {
	var names []string
	length := 0
	for range maxDepth {
		parent, err := m.k.Value(at, "mount", "mnt_parent")
		if err != nil {
			return "", err
		}
		if parent == at {
			slices.Reverse(names)
			return "/" + strings.Join(names, "/"), nil
		}
		entry, err := m.k.Value(at, "mount", "mnt_mountpoint")
		if err != nil {
			return "", err
		}
		root, err := m.k.Value(parent, "mount", "mnt.mnt_root")
		if err != nil {
			return "", err
		}
		for entry != root {
			name, up, err := m.entry(entry)
			if err != nil {
				return "", err
			}
			if length += len(name) + 1; up == entry || length > maxPath {
				return "", errors.New("a path has no end")
			}
			names = append(names, name)
			entry = up
		}
		at = parent
	}
	return "", errors.New("a mount has no root")
}

// entry returns the name of a directory entry and the address of the one above.
func (m *maker) entry(at uint64) (name string, up uint64, err error) {
	p, err := m.k.Value(at, "dentry", "d_name.name")
	if err != nil {
		return "", 0, err
	}
	if name, err = m.k.String(p, maxName); err != nil {
		return "", 0, err
	}
	up, err = m.k.Value(at, "dentry", "d_parent")
	return name, up, err
}

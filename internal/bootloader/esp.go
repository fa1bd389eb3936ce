package bootloader

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/host"
)

// espDirs is where the EFI system partition is mounted, in the order in which bootctl(1)
// looks.
var espDirs = []string{"/efi", "/boot", "/boot/efi"}

// xbootldrDir is where the extended boot loader partition is mounted.
const xbootldrDir = "/boot"

// esp returns the directory of the EFI system partition, "" if the machine has none. It is
// an error if it has one that is not mounted.
func (s *System) esp() (string, error) {
	mounts, err := s.mounts()
	if err != nil {
		return "", err
	}
	for _, dir := range espDirs {
		ok, err := s.isESP(dir, mounts)
		if err != nil {
			return "", err
		}
		if ok {
			return dir, nil
		}
	}
	if mounts == nil {
		return "", nil
	}
	return "", s.unmountedESP()
}

// mounts returns the machine's mounts; nil if the root is a tree of files only, without
// /proc. Looking into the directories first has automounts do their work.
func (s *System) mounts() ([]host.Mount, error) {
	h, err := s.host()
	if err != nil {
		return nil, err
	}
	for _, dir := range espDirs {
		if file, err := h.File(dir); err == nil {
			os.ReadDir(file)
		}
	}
	mounts, err := h.Mounts()
	if absent(err) {
		return nil, nil
	}
	return mounts, err
}

// mounted returns the mount on top of the directory dir itself.
func (s *System) mounted(dir string, mounts []host.Mount) (host.Mount, bool) {
	real, err := s.real(dir)
	if err != nil {
		return host.Mount{}, false
	}
	for _, m := range slices.Backward(mounts) {
		if m.Point == real {
			return m, true
		}
	}
	return host.Mount{}, false
}

// isESP reports whether dir is a FAT file system with a directory EFI. In a tree of files
// the directory is enough.
func (s *System) isESP(dir string, mounts []host.Mount) (bool, error) {
	if mounts != nil {
		m, ok := s.mounted(dir, mounts)
		if !ok || m.FSType != "vfat" && m.FSType != "msdos" {
			return false, nil
		}
	}
	names, err := s.names(dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, "EFI") }), nil
}

// unmountedESP returns the error if an EFI system partition is known that is not mounted:
// from fstab(5) or a unit of systemd, or as the partition that the loader says it is on.
func (s *System) unmountedESP() error {
	h, err := s.host()
	if err != nil {
		return err
	}
	root := s.Root
	if root == "" {
		root = "/"
	}
	table := host.ReadMountTable(root)
	for _, dir := range espDirs {
		file, err := h.File(dir)
		if err != nil {
			return err
		}
		for _, m := range table.Absent(file) {
			if m.Point == dir {
				return advice.With(fmt.Errorf("the EFI system partition is not mounted on %s", dir), "Run \"mount "+dir+"\".")
			}
		}
	}
	if uuid := s.efiString("LoaderDevicePartUUID"); uuid != "" {
		device := "/dev/disk/by-partuuid/" + strings.ToLower(uuid)
		return advice.With(fmt.Errorf("the EFI system partition, %s, is not mounted", device),
			"Mount it: mount "+device+" /efi")
	}
	return nil
}

// xbootldr returns the directory of the extended boot loader partition, "" if the machine
// has none: a file system of its own on /boot that is not the EFI system partition.
func (s *System) xbootldr(esp string) (string, error) {
	if esp == xbootldrDir {
		return "", nil
	}
	mounts, err := s.mounts()
	if err != nil {
		return "", err
	}
	if mounts == nil && s.exists(xbootldrDir+"/loader/entries") {
		return xbootldrDir, nil
	}
	if _, ok := s.mounted(xbootldrDir, mounts); ok {
		return xbootldrDir, nil
	}
	return "", nil
}

// inESP returns the path on the machine of a file in the EFI system partition that the
// firmware names with backslashes. Of names FAT does not care about the case, but a copy
// of it in a tree of files does.
func (s *System) inESP(esp, name string) string {
	at := esp
	for elem := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '\\' || r == '/' }) {
		names, _ := s.names(at)
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, elem) })
		if i >= 0 {
			elem = names[i]
		}
		at = strings.TrimSuffix(at, "/") + "/" + elem
	}
	return at
}

package kimage

import (
	"os"
	"path"
	"slices"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/kmod"
)

// byName are the places of the kernel of one release, %s, below the root: by
// distribution, then kernel-install(8)'s, where * is an entry token.
var byName = []string{
	"usr/lib/modules/%s/vmlinuz", // Arch, Fedora, SUSE, Debian from 7.0
	"lib/modules/%s/vmlinuz",
	"usr/lib/modules/%s/Image*", // SUSE arm64
	"lib/modules/%s/Image*",
	"boot/vmlinuz-%s",
	"boot/vmlinux-%s",
	"boot/Image-%s",
	"boot/bzImage-%s",
	"boot/kernel-%s",             // Gentoo
	"boot/kernel-genkernel-*-%s", // genkernel
	"usr/lib/ostree-boot/vmlinuz-%s*",
	"boot/*/%s/linux*", // kernel-install(8); openSUSE's sdbootutil appends a hash
	"efi/*/%s/linux*",
	"boot/efi/*/%s/linux*",
}

// mountPoints are where the partitions are mounted that boot loaders read: /boot, the
// EFI system partition and the extended boot loader partition
// (uapi-group.org/specifications/specs/boot_loader_specification).
var mountPoints = []string{"boot", "efi", "boot/efi", "boot/EFI", "esp", "boot/esp", "boot/firmware"}

// byContent are files whose names do not contain the release.
var byContent = func() (list []string) {
	for _, m := range mountPoints {
		for _, name := range kernelNames {
			list = append(list, m+"/"+name)
		}
	}
	list = append(list,
		"usr/lib/modules/*/vmlinuz",
		kmod.CaptureKernelDir[1:]+"/vmlinuz",
		"run/booted-system/kernel",         // NixOS
		"run/booted-system/kernel/bzImage", // Guix
		"run/booted-system/kernel/Image",
		"run/current-system/kernel",
		"run/current-system/kernel/bzImage",
		"run/current-system/kernel/Image",
		"vmlinuz*",
		"usr/lib/kernel/org.clearlinux.*",
		"usr/src/linux*/arch/x86/boot/bzImage", // Gentoo
		"usr/src/linux*/arch/arm64/boot/Image*",
		"host/*/boot/vmlinuz*",       // SONiC
		"run/mnt/*/EFI/*/kernel.efi", // Ubuntu Core
	)
	for _, m := range mountPoints {
		list = append(list, m+"/EFI/Linux/*.efi", m+"/EFI/linux/*.efi", m+"/efi/Linux/*.efi")
		for _, dir := range []string{"EFI/*/", "efi/*/", "*/", "*/*/"} {
			for _, name := range kernelNames {
				list = append(list, m+"/"+dir+name)
			}
		}
		list = append(list, m+"/EFI/*/*.efi", m+"/EFI/*/*.EFI", m+"/efi/*/*.efi", m+"/EFI/*/*/vmlinuz*")
	}
	return list
}()

// kernelNames are the names that distributions and users give to a kernel.
var kernelNames = []string{"vmlinuz*", "vmlinux*", "bzImage*", "Image*", "kernel*", "linux*", "*-bzImage*", "*-Image*"}

// bootLoaderConfigs are the files in which boot loaders are told of kernels.
var bootLoaderConfigs = []string{
	"grub/grub.cfg", "grub2/grub.cfg", "loader/entries/*.conf", "limine.conf", "limine/limine.conf", "limine.cfg", "EFI/limine/limine.conf",
	"EFI/BOOT/limine.conf", "extlinux/extlinux.conf", "syslinux/syslinux.cfg", "EFI/refind/refind.conf", "refind_linux.conf",
}

const (
	maxBootConfig = 1 << 20 // bytes
	maxCandidates = 200
)

// bootLoaderFiles returns the files that may be the kernel that the boot loader started:
// BOOT_IMAGE= and the directory of initrd= on the command line, and the kernels in the
// configuration of boot loaders. Their paths begin at a partition, so each stands for
// several files.
func bootLoaderFiles(m Machine) []string {
	var paths []string
	for w := range strings.FieldsSeq(readFile(m, "/proc/cmdline", 64<<10)) {
		key, value, _ := strings.Cut(strings.Trim(w, `"`), "=")
		switch key {
		case "BOOT_IMAGE":
			paths = append(paths, value)
		case "initrd": // of an EFI stub; the kernel mostly lies beside it
			dir := path.Dir(strings.ReplaceAll(value, `\`, "/"))
			for _, name := range kernelNames {
				paths = append(paths, path.Join(dir, name))
			}
		}
	}
	for _, mount := range mountPoints {
		for _, pattern := range bootLoaderConfigs {
			for _, name := range m.Glob("/" + mount + "/" + pattern) {
				paths = append(paths, kernelsIn(readFile(m, name, maxBootConfig))...)
			}
		}
	}
	var files []string
	for _, p := range paths {
		for _, f := range onPartitions(p) {
			for _, name := range m.Glob(f) {
				if len(files) < maxCandidates && !slices.Contains(files, name) && isFile(m, name) {
					files = append(files, name)
				}
			}
		}
	}
	return files
}

// kernelsIn returns the values of the lines of a boot loader's configuration that name a
// kernel.
func kernelsIn(text string) (paths []string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		switch k, v, ok := strings.Cut(key, "="); {
		case ok: // limine.cfg: KERNEL_PATH=boot:///vmlinuz
			key, value = k, v
		}
		switch strings.ToLower(strings.TrimSuffix(key, ":")) {
		case "linux", "linuxefi", "linux16", "efi", "uki", "kernel", "kernel_path", "path", "image_path", "loader", "chainloader":
			value, _, _ = strings.Cut(strings.TrimSpace(value), " ")
			paths = append(paths, strings.Trim(value, `"`))
		}
	}
	return paths
}

// onPartitions returns the absolute names that a path of a boot loader may have here: it
// begins with a partition, such as (hd0,gpt2) or boot():, and perhaps a subvolume that
// is not visible here.
func onPartitions(p string) (names []string) {
	p, _, _ = strings.Cut(p, "#") // Limine's checksum
	for _, end := range []string{")", ":"} {
		if i := strings.LastIndex(p, end); i >= 0 {
			p = p[i+1:]
		}
	}
	p = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(p, `\`, "/")), "/")
	for skipped := 0; p != "" && skipped < 4; skipped++ {
		for _, mount := range append([]string{""}, mountPoints...) {
			names = append(names, path.Join("/", mount, p))
		}
		_, p, _ = strings.Cut(p, "/")
	}
	return names
}

func isFile(m Machine, name string) bool {
	file, err := m.File(name)
	if err != nil {
		return false
	}
	st, err := os.Stat(file)
	return err == nil && st.Mode().IsRegular()
}

func readLimited(file string, limit int64) ([]byte, error) { return crashdir.ReadFile(file, limit) }

package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/dumpfile"
	"ukdump/test/debian"
)

// sshTool is another tool that saves dumps over ssh, in its default way.
type sshTool struct {
	packages []string // of Debian, with those that they need
	trees    []string // of files that no package has
	script   string   // of the guest, in test/debian/guest
	steps    []peerStep
	init     string // of the boots that crash
	first    int    // as in netBench
}

// peerStep is a boot before the first crash.
type peerStep struct {
	name string // for the script
	init string
	says string // in the end
}

// kdumpToolsPackages are those of Debian's kdump-tools and a network.
var kdumpToolsPackages = []string{"kdump-tools", "initramfs-tools-core", "zstd", "openssh-client", "ifupdown"}

// kdumpToolsBench is the row of Debian's kdump-tools.
func kdumpToolsBench(t *testing.T, name string, root *debian.Root) (*netBench, error) {
	return sshTool{
		packages: kdumpToolsPackages,
		script:   "kdump-tools",
		steps:    []peerStep{{"install", debian.Quick, "installed"}},
		init:     debian.Quick,
		first:    144,
	}.bench(t, name, root)
}

// kdumpUtilsBench is the row of Fedora's kdump-utils from a source tree, with Debian's dracut
// and NetworkManager.
func kdumpUtilsBench(t *testing.T, name string, root *debian.Root, source string) (*netBench, error) {
	// Its Makefile writes into the source tree.
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "source"), os.DirFS(source)); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(t.Context(), "make", "-s", "-C", filepath.Join(dir, "source"), "install", "DESTDIR="+filepath.Join(dir, "tree"), "ARCH=x86_64")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install %s: %w\n%s", source, err, out)
	}
	return sshTool{
		packages: []string{"dracut", "dracut-network", "dracut-squash", "network-manager", "dbus", "openssh-client", "kexec-tools", "iproute2", "ethtool", "squashfs-tools", "procps", "binutils", "keyutils", "sudo"},
		trees:    []string{filepath.Join(dir, "tree")},
		script:   "kdump-utils",
		steps:    []peerStep{{"install", debian.Quick, "installed"}, {"build", "", "built"}},
		first:    160,
	}.bench(t, name, root)
}

func (p sshTool) bench(t *testing.T, name string, root *debian.Root) (*netBench, error) {
	unpacked, err := unpackedPackages(t, root, p.packages)
	if err != nil {
		return nil, err
	}
	// They run mkdir, dd and mv at the server, so it cannot be for SFTP only.
	s := startSSH(t, hostIPv4, "")
	m, err := benchMachine(t, name, root)
	if err != nil {
		return nil, err
	}
	run := func(step string) string { return "step=" + step + "\n. /ukdump-test/" + p.script + "\n" }
	b := &netBench{name: name, machine: m, init: p.init, first: p.first, run: run("crash"), words: "net.ifnames=0"}
	b.payload = b.payload.With("ukdump-test/ssh/id", s.userKey).With("ukdump-test/ssh/known_hosts", s.known).
		With("ukdump-test/ssh/target", fmt.Sprintf("user=%s\nhost=%s\nport=%d\ndumps=%s\n", s.user, hostIPv4, s.port, s.dumps))
	b.prepare = func(ctx context.Context) error {
		for i, step := range p.steps {
			payload := b.payload.With("ukdump-test/cell", "")
			if i == 0 {
				payload.Trees = append([]string{unpacked}, p.trees...)
			}
			payload.Run = run(step.name)
			vm, err := m.Boot(ctx, debian.Boot{Name: step.name, Init: step.init, Payload: payload, Memory: benchMemory, Deadline: 2 * bootLimit,
				Cmdline: fmt.Sprintf("crashkernel=%dM panic=5 printk.devkmsg=on %s", benchRoomy, b.words)})
			if err == nil {
				err = vm.Wait()
			}
			if err == nil {
				err = vm.Expect("ukdump-test: "+step.says, 0)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	b.read = func(context.Context, string) (savedDump, error) { return readFlat(s.dumps, m.Dir) }
	return b, nil
}

// unpackedPackages returns a directory with the unpacked packages, and those that they need.
func unpackedPackages(t *testing.T, root *debian.Root, names []string) (string, error) {
	repo, err := debian.Repository()
	if err != nil {
		return "", err
	}
	debs, err := root.Packages(t.Context(), repo, names, os.Stdout)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(t.TempDir(), "packages")
	return dir, unpackPackages(debs, dir)
}

// unpackPackages unpacks the packages in debs below dir, without their scripts: in the guest
// that takes many minutes.
func unpackPackages(debs, dir string) error {
	// Packages of bookworm have files in these, which are links in the guest, and stay so.
	links := []string{"bin", "sbin", "lib", "lib64"}
	for _, name := range links {
		if err := os.MkdirAll(filepath.Join(dir, "usr", name), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	list, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil || len(list) == 0 {
		return fmt.Errorf("no packages in %s (%v)", debs, err)
	}
	for _, deb := range list {
		cmd := exec.Command("bash", "-c", `set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"`, "unpack", deb, dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", deb, err, out)
		}
	}
	for _, name := range links {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// readFlat checks the only dump below dir, in makedumpfile's flattened format, and removes all
// dumps. temp is for files.
func readFlat(dir, temp string) (d savedDump, err error) {
	defer func() { err = errors.Join(err, removeAllIn(dir)) }()
	// kdump-tools writes dump.TIME, kdump-utils vmcore.flat. A part of a dump ends with
	// -incomplete.
	var flat []string
	for _, pattern := range []string{"dump.*", "vmcore.flat"} {
		found, err := filepath.Glob(filepath.Join(dir, "*", pattern))
		if err != nil {
			return d, err
		}
		flat = append(flat, found...)
	}
	if len(flat) != 1 {
		return d, fmt.Errorf("%d dumps below %s, not 1", len(flat), dir)
	}
	if d, err = writingOf(flat[0]); err != nil {
		return d, err
	}
	return d, checkFlat(flat[0], temp, benchMark)
}

// checkFlat checks a dump in makedumpfile's flattened format, with mark in its log. temp is for
// files.
func checkFlat(name, temp, mark string) (err error) {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	core, text := filepath.Join(temp, "vmcore"), filepath.Join(temp, "dmesg.txt")
	defer func() { err = errors.Join(err, os.RemoveAll(core), os.RemoveAll(text)) }()
	rearrange := exec.Command("makedumpfile", "-R", core)
	rearrange.Stdin = in
	for _, cmd := range []*exec.Cmd{rearrange, exec.Command("makedumpfile", "--dump-dmesg", core, text)} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
		}
	}
	_, err = dumpfile.VerifyFile(core)
	return errors.Join(err, checkLog(text, mark))
}

// writingOf returns the size of a file and the time from its creation to its last write. The
// server's clock is that of this computer, and no tool measures it itself.
func writingOf(name string) (d savedDump, err error) {
	var x unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, name, 0, unix.STATX_BTIME|unix.STATX_MTIME|unix.STATX_SIZE, &x); err != nil {
		return d, fmt.Errorf("statx %s: %w", name, err)
	}
	if x.Mask&unix.STATX_BTIME == 0 {
		return d, fmt.Errorf("statx %s: the file system has no time of creation. Set TMPDIR to a directory on ext4, xfs or btrfs", name)
	}
	at := func(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }
	return savedDump{vmcore: int64(x.Size), seconds: at(x.Mtime).Sub(at(x.Btime)).Seconds()}, nil
}

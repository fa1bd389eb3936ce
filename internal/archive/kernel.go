package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"ukdump/internal/crashdir"
	"ukdump/internal/debug"
	"ukdump/internal/host"
	"ukdump/internal/kimage"
	"ukdump/internal/symbols"
)

// Kernel has the files about the kernel of a dump: its types, in BTF, and its configuration.
type Kernel struct {
	Root    string          // of this machine; "/" but for tests
	Release string          // of the dump, "" if it is not known
	BuildID string          // of the dump, "" if it is not known
	Memory  *symbols.Kernel // nil if the dump cannot be read
	Unread  error           // why; may be nil
	// Ours is set if this machine crashed: then it has files of the release.
	Ours bool
}

// Names of these files in an archive. Those of BTF are the ones of /sys/kernel/btf.
const (
	kernelConfig = "kernel-config"
	btfDir       = "btf"
	vmlinux      = "vmlinux"
)

// Limits of these files, in bytes. Linux 6.12 of Debian has 6 MiB of BTF, and configurations
// have 300 KiB.
const (
	maxConfig = 4 << 20
	maxBTF    = 32 << 20
	maxBTFs   = 96 << 20 // in all
	maxBTFNum = 1024
)

var (
	btfName = regexp.MustCompile(`^btf/[A-Za-z0-9_]{1,64}$`)
	release = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+~-]{0,64}$`)
)

// config returns the configuration of the kernel, nil if it is not known.
func (k *Kernel) config() []byte {
	if k.Memory != nil {
		if b, err := k.Memory.Config(); err == nil {
			if b, err = gunzip(b); err == nil {
				return b
			}
		}
	}
	if !k.Ours || !release.MatchString(k.Release) {
		return nil
	}
	h, err := host.Open(k.Root)
	if err != nil {
		return nil
	}
	c, err := kimage.InstalledConfig(h, k.Root, k.Release)
	if err != nil || len(c.Text()) > maxConfig {
		return nil
	}
	return c.Text()
}

func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return crashdir.ReadAll(z, maxConfig)
}

// types calls add with each file of BTF: those in the memory of the dump, else those of the
// running kernel if that is the same build.
func (k *Kernel) types(add func(name string, content []byte) error) error {
	err := k.Unread
	if err == nil {
		err = errors.New("no memory in the dump")
	}
	if k.Memory != nil {
		var b []byte
		if b, err = k.Memory.BTF(); err == nil {
			return k.ofMemory(b, add)
		}
	}
	if k.BuildID == "" || k.BuildID != debug.RunningBuildID(k.Root) {
		return &NoTypesError{err}
	}
	return k.ofRunning(add)
}

// NoTypesError reports that an archive is whole but for types of the kernel.
type NoTypesError struct{ Err error }

func (e *NoTypesError) Error() string {
	return "types (BTF) of the kernel are missing: " + e.Err.Error()
}

func (e *NoTypesError) Unwrap() error { return e.Err }

// ofMemory adds the BTF of the image and that of the modules.
func (k *Kernel) ofMemory(image []byte, add func(string, []byte) error) error {
	if err := add(vmlinux, image); err != nil {
		return err
	}
	modules, damage := k.Memory.ModuleBTFs()
	total, seen := 0, map[string]bool{vmlinux: true}
	for _, m := range modules {
		b, err := k.Memory.ReadModuleBTF(m)
		if err != nil {
			damage = errors.Join(damage, err)
			break // the rest is hardly better
		}
		total += len(b)
		if seen[m.Name] || !btfName.MatchString(btfDir+"/"+m.Name) || total > maxBTFs || len(seen) > maxBTFNum {
			continue
		}
		seen[m.Name] = true
		if err := add(m.Name, b); err != nil {
			return err
		}
	}
	if damage != nil {
		return &NoTypesError{damage}
	}
	return nil
}

// ofRunning adds the files of /sys/kernel/btf.
func (k *Kernel) ofRunning(add func(string, []byte) error) error {
	dir := filepath.Join(k.Root, "sys/kernel/btf")
	files, err := os.ReadDir(dir)
	if err != nil {
		return &NoTypesError{err}
	}
	total := 0
	for i, f := range files {
		if i > maxBTFNum || !btfName.MatchString(btfDir+"/"+f.Name()) {
			continue
		}
		b, err := crashdir.ReadFile(filepath.Join(dir, f.Name()), maxBTF)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the module was removed
		}
		if err != nil {
			return &NoTypesError{err}
		}
		if total += len(b); total > maxBTFs {
			break
		}
		if err := add(f.Name(), b); err != nil {
			return err
		}
	}
	return nil
}

// plainConfig matches a line of a configuration that is no text: a switch, a number, a
// comment.
var plainConfig = regexp.MustCompile(`^(?:#.*|CONFIG_[A-Za-z0-9_]+=(?:[ymn]|-?[0-9]+|0x[0-9a-fA-F]+|""))?$`)

// config returns a configuration of a kernel without private facts. Only texts have some:
// names of options such as CONFIG_KEYS would be taken for those of secrets.
func (s *Scrubber) config(b []byte) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		body, newline := strings.CutSuffix(line, "\n")
		if !plainConfig.MatchString(body) {
			body = s.Line(body)
		}
		out.WriteString(body)
		if newline {
			out.WriteByte('\n')
		}
	}
	return []byte(out.String())
}

// kernel adds the files about the kernel. A *NoTypesError leaves the archive whole.
func (a *writer) kernel(k *Kernel) error {
	if b := k.config(); b != nil {
		if a.scrub != nil {
			b = a.scrub.config(b)
		}
		if err := a.file(kernelConfig, bytes.NewReader(b), int64(len(b))); err != nil {
			return err
		}
	}
	return k.types(func(name string, content []byte) error {
		return a.file(btfDir+"/"+name, bytes.NewReader(content), int64(len(content)))
	})
}

package symbols

import (
	"encoding/binary"
	"fmt"
)

// maxModuleBTF bounds the BTF of one module, in bytes. That of amdgpu has 1 MiB.
const maxModuleBTF = 16 << 20

// maxConfig bounds the compressed configuration inside a kernel, in bytes. Debian's would
// have 60 KiB.
const maxConfig = 1 << 20

// BTF returns the BTF of the kernel's image, as /sys/kernel/btf/vmlinux has it. It fails if
// the kernel has none.
func (k *Kernel) BTF() ([]byte, error) { return k.between("__start_BTF", "__stop_BTF", maxBTF) }

// Config returns the configuration inside the kernel's image, compressed by gzip
// (CONFIG_IKCONFIG=y, kernel/configs.c).
func (k *Kernel) Config() ([]byte, error) {
	return k.between("kernel_config_data", "kernel_config_data_end", maxConfig)
}

// between reads the memory between two symbols.
func (k *Kernel) between(first, last string, max uint64) ([]byte, error) {
	start, err := k.Lookup(first)
	if err != nil {
		return nil, err
	}
	stop, err := k.Lookup(last)
	if err != nil {
		return nil, err
	}
	if stop <= start || stop-start > max {
		return nil, fmt.Errorf("%s to %s: from %#x to %#x, expected at most %d bytes", first, last, start, stop, max)
	}
	return k.readAll(start, stop-start)
}

// readAll reads memory page by page, so that it takes no more of ours than there is.
func (k *Kernel) readAll(start, size uint64) ([]byte, error) {
	raw := make([]byte, 0, chunk)
	for at := start; at < start+size; {
		n := min(start+size-at, chunk-at%chunk)
		raw = append(raw, make([]byte, n)...)
		if err := k.ReadVirt(raw[uint64(len(raw))-n:], at); err != nil {
			return nil, err
		}
		at += n
	}
	return raw, nil
}

// A ModuleBTF locates the BTF of a module in memory.
type ModuleBTF struct {
	Name       string // of the module
	addr, size uint64
}

// ModuleBTFs returns the modules with BTF, by the list btf_modules of kernel/bpf/btf.c. With
// an error the list may lack modules.
func (k *Kernel) ModuleBTFs() ([]ModuleBTF, error) {
	head, err := k.Lookup("btf_modules")
	if err != nil {
		return nil, err
	}
	list, damage := k.List(head, "btf_module", "list", maxModules)
	var modules []ModuleBTF
	for _, addr := range list {
		m, err := k.moduleBTF(addr)
		if err != nil {
			return modules, fmt.Errorf("BTF of a module: %w", err)
		}
		modules = append(modules, m)
	}
	return modules, damage
}

func (k *Kernel) moduleBTF(addr uint64) (m ModuleBTF, err error) {
	module, err := k.Value(addr, "btf_module", "module")
	if err != nil {
		return m, err
	}
	if m.Name, err = k.TextField(module, "module", "name"); err != nil {
		return m, err
	}
	btf, err := k.Value(addr, "btf_module", "btf")
	if err != nil {
		return m, err
	}
	if m.addr, err = k.Value(btf, "btf", "data"); err != nil {
		return m, err
	}
	m.size, err = k.Value(btf, "btf", "data_size")
	return m, err
}

// ReadModuleBTF returns the BTF of a module, as /sys/kernel/btf has it: its types continue
// those of the kernel's image.
func (k *Kernel) ReadModuleBTF(m ModuleBTF) ([]byte, error) {
	if m.size > maxModuleBTF || m.addr+m.size < m.addr {
		return nil, fmt.Errorf("BTF of module %s: %d bytes, expected at most %d", m.Name, m.size, maxModuleBTF)
	}
	raw, err := k.readAll(m.addr, m.size)
	if err != nil {
		return nil, fmt.Errorf("BTF of module %s: %w", m.Name, err)
	}
	if len(raw) < 2 || binary.LittleEndian.Uint16(raw) != btfMagic {
		return nil, fmt.Errorf("BTF of module %s: no BTF header", m.Name)
	}
	return raw, nil
}

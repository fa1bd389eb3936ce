package main

import (
	"debug/elf"
	"strconv"

	"ukdump/internal/vmcore"
)

// elfSymbols are the symbols of vmlinux with the addresses that they have in the dump.
// One function can have several, such as its label entry_SYSCALL_64_after_hwframe.
type elfSymbols map[string][]uint64

func readELF(name string, info vmcore.Info) (elfSymbols, error) {
	f, err := elf.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	offset, err := strconv.ParseUint(info.Get("KERNELOFFSET"), 16, 64)
	if err != nil {
		return nil, err
	}
	out := make(elfSymbols)
	for _, s := range list {
		out[s.Name] = append(out[s.Name], s.Value+offset)
	}
	return out, nil
}

// has reports whether vmlinux has the symbol at this address.
func (e elfSymbols) has(name string, addr uint64) bool {
	for _, a := range e[name] {
		if a == addr {
			return true
		}
	}
	return false
}

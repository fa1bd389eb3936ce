package symbols

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ukdump/internal/advice"
	"ukdump/internal/vmcore"
)

const (
	// maxSymbols bounds the symbols of the kernel's image and of one module.
	// Debian's kernels have 200,000 with CONFIG_KALLSYMS_ALL.
	maxSymbols = 1 << 20
	// maxNames bounds the names of one table, in bytes.
	maxNames = 64 << 20
	// maxName is KSYM_NAME_LEN of include/linux/kallsyms.h since 6.1; before, it
	// was 128.
	maxName = 512
)

// kallsyms holds the tables of scripts/kallsyms.c in a dump. VMCOREINFO has
// their addresses since 6.0.
type kallsyms struct {
	Reader
	count      int
	names      uint64
	tokens     [256]string
	bigSymbols bool // lengths above 127 take two bytes, since 6.1
}

// readKallsyms decodes the symbols of the kernel's image.
func readKallsyms(mem Memory, info vmcore.Info) (*table, error) {
	k := kallsyms{Reader: Reader{mem: mem}, bigSymbols: releaseAtLeast(info.Release(), 6, 1)}
	if err := k.header(info); err != nil {
		return nil, err
	}
	t, err := k.readNames()
	if err != nil {
		return nil, fmt.Errorf("read kallsyms_names: %w", err)
	}
	if err := k.addresses(info, t); err != nil {
		return nil, err
	}
	t.sort()
	return t, nil
}

// header reads the number of symbols and the tokens.
func (k *kallsyms) header(info vmcore.Info) error {
	address := func(name string) uint64 {
		a, _ := info.Symbol(name)
		return a
	}
	k.names = address("kallsyms_names")
	number, tokenTable, tokenIndex := address("kallsyms_num_syms"), address("kallsyms_token_table"), address("kallsyms_token_index")
	if k.names == 0 || number == 0 || tokenTable == 0 || tokenIndex == 0 {
		return advice.With(errors.New("read symbols: VMCOREINFO has no address of kallsyms, which kernels record since 6.0"),
			"Open the dump with crash(8) and the vmlinux of this kernel.")
	}
	n, err := k.U32(number)
	if err != nil {
		return fmt.Errorf("read kallsyms_num_syms: %w", err)
	}
	if n == 0 || n > maxSymbols {
		return fmt.Errorf("read kallsyms_num_syms: %d symbols, expected 1 to %d", n, maxSymbols)
	}
	k.count = int(n)
	var index [512]byte
	if err := k.ReadVirt(index[:], tokenIndex); err != nil {
		return fmt.Errorf("read kallsyms_token_index: %w", err)
	}
	for i := range k.tokens {
		off := binary.LittleEndian.Uint16(index[2*i:])
		if k.tokens[i], err = k.String(tokenTable+uint64(off), maxName); err != nil {
			return fmt.Errorf("read kallsyms_token_table: %w", err)
		}
	}
	return nil
}

// readNames expands all names. A symbol is a length and that many tokens; the
// first character of the expanded text is the type, as in nm(1).
func (k *kallsyms) readNames() (*table, error) {
	t := &table{syms: make([]entry, 0, k.count)}
	var buf [chunk]byte
	have, pos, at := 0, 0, k.names
	next := func() (byte, error) {
		if pos == have {
			have, pos = int(chunk-at%chunk), 0
			if err := k.ReadVirt(buf[:have], at); err != nil {
				return 0, err
			}
			at += uint64(have)
		}
		pos++
		return buf[pos-1], nil
	}
	var name []byte
	for i := range k.count {
		b, err := next()
		if err != nil {
			return nil, err
		}
		length := int(b)
		if k.bigSymbols && b&0x80 != 0 {
			if b, err = next(); err != nil {
				return nil, err
			}
			length = length&0x7f | int(b)<<7
		}
		name = name[:0]
		for range length {
			if b, err = next(); err != nil {
				return nil, err
			}
			if name = append(name, k.tokens[b]...); len(name) > maxName {
				return nil, fmt.Errorf("symbol %d of %d is longer than %d bytes", i, k.count, maxName)
			}
		}
		if len(name) < 2 {
			return nil, fmt.Errorf("symbol %d of %d has no name", i, k.count)
		}
		if err := t.add(0, name[0], name[1:]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// addresses sets the addresses of t by the layout that this kernel has. The
// layout depends on the release and on options that VMCOREINFO does not tell, so
// the one counts with which the symbols have the addresses of VMCOREINFO.
func (k *kallsyms) addresses(info vmcore.Info, t *table) error {
	if table, ok := info.Symbol("kallsyms_addresses"); ok {
		// Without CONFIG_KALLSYMS_BASE_RELATIVE, which 6.12 removed.
		raw := make([]byte, 8*k.count)
		if err := k.ReadVirt(raw, table); err != nil {
			return fmt.Errorf("read kallsyms_addresses: %w", err)
		}
		return t.place(info, func(i int) uint64 { return binary.LittleEndian.Uint64(raw[8*i:]) })
	}
	offsets, ok := info.Symbol("kallsyms_offsets")
	if !ok {
		return errors.New("read symbols: VMCOREINFO has neither kallsyms_offsets nor kallsyms_addresses")
	}
	raw := make([]byte, 4*k.count)
	if err := k.ReadVirt(raw, offsets); err != nil {
		return fmt.Errorf("read kallsyms_offsets: %w", err)
	}
	offset := func(i int) uint32 { return binary.LittleEndian.Uint32(raw[4*i:]) }
	pointer, ok := info.Symbol("kallsyms_relative_base")
	if !ok {
		// Since 7.0 each offset counts from its own place: kernel/kallsyms.c,
		// kallsyms_sym_address.
		return t.place(info, func(i int) uint64 { return offsets + uint64(4*i) + uint64(int64(int32(offset(i)))) })
	}
	base, err := k.U64(pointer)
	if err != nil {
		return fmt.Errorf("read kallsyms_relative_base: %w", err)
	}
	return t.place(info,
		func(i int) uint64 { return base + uint64(offset(i)) },
		// CONFIG_KALLSYMS_ABSOLUTE_PERCPU, x86-64 before 6.15: values that are not
		// negative are per-CPU offsets.
		func(i int) uint64 {
			if o := int64(int32(offset(i))); o < 0 {
				return base - 1 - uint64(o)
			}
			return uint64(offset(i))
		})
}

// anchors are symbols that both VMCOREINFO and kallsyms have once.
var anchors = []string{"_stext", "init_uts_ns", "node_online_map"}

// place gives the symbols their addresses by the first layout that agrees with
// VMCOREINFO.
func (t *table) place(info vmcore.Info, layouts ...func(i int) uint64) error {
	want := make(map[int]uint64)
	for _, name := range anchors {
		if addr, ok := info.Symbol(name); ok {
			if i := t.position(name); i >= 0 {
				want[i] = addr
			}
		}
	}
	if len(want) == 0 {
		return errors.New("read symbols: kallsyms and VMCOREINFO have no symbol in common, so no address can be verified")
	}
	for _, address := range layouts {
		agrees := true
		for i, addr := range want {
			agrees = agrees && address(i) == addr
		}
		if agrees {
			for i := range t.syms {
				t.syms[i].addr = address(i)
			}
			return nil
		}
	}
	return errors.New("read symbols: the addresses of kallsyms contradict VMCOREINFO")
}

// releaseAtLeast reports whether a kernel release such as 6.12.9-amd64 is at
// least major.minor. An unreadable release counts as new.
func releaseAtLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return true
	}
	return a > major || a == major && b >= minor
}

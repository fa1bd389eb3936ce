package makedumpfile

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"ukdump/internal/vmcore"
)

// InfoArgs returns the arguments that let makedumpfile up to 1.7.9 read the memory of an
// arm64 kernel with VMCOREINFO in, and writes the file that they name to path. It returns
// nil if the program needs none.
//
// A kernel that was built for addresses of 52 bits runs with 48 on a processor that has no
// more, or with 47 if its pages have 16 KiB (VA_BITS_MIN in arch/arm64/include/asm/memory.h).
// makedumpfile takes the levels of page tables from the bits of the build, and ends if it
// does not know them (calculate_plat_config in arch/arm64.c). With 64 KiB both have as many.
func InfoArgs(in vmcore.Info, path string) ([]string, error) {
	text := narrowed(in)
	if text == nil {
		return nil, nil
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	return []string{"-i", path}, nil
}

// narrowed returns in as a file with the bits that the processor has, nil if it needs no
// change or cannot be changed. makedumpfile adds KERNELOFFSET to the symbols of a file,
// and not to those of the memory (READ_SYMBOL in makedumpfile.h).
func narrowed(in vmcore.Info) []byte {
	built, _ := in.Number("VA_BITS")
	t1sz, ok := in.Number("TCR_EL1_T1SZ")
	bits := uint64(48)
	switch in.PageSize() {
	case 4 << 10:
	case 16 << 10:
		bits = 47
	default:
		return nil
	}
	if built != 52 || !ok || t1sz != 64-bits {
		return nil
	}
	moved, _ := strconv.ParseUint(in.Get("KERNELOFFSET"), 16, 64)
	var lines []string
	for key, value := range in.All() {
		switch {
		case key == "NUMBER(VA_BITS)":
			value = strconv.FormatUint(bits, 10)
		case key == "NUMBER(MAX_PHYSMEM_BITS)":
			// More than 48 physical ones need the same feature of the processor.
			if n, _ := in.Number("MAX_PHYSMEM_BITS"); n > 48 {
				value = "48"
			}
		case strings.HasPrefix(key, "SYMBOL("):
			if n, err := strconv.ParseUint(value, 16, 64); err == nil {
				value = strconv.FormatUint(n-moved, 16)
			}
		}
		lines = append(lines, fmt.Sprintf("%s=%s\n", key, value))
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

// Package symbolstest has the memory of invented kernels, for tests.
package symbolstest

import "fmt"

// ReadVirt fills p from the address addr of a memory that is pieces by address. Other
// addresses are not readable.
func ReadVirt(memory map[uint64][]byte, p []byte, addr uint64) error {
	for len(p) > 0 {
		n := 0
		for at, data := range memory {
			if addr >= at && addr-at < uint64(len(data)) {
				n = copy(p, data[addr-at:])
				break
			}
		}
		if n == 0 {
			return fmt.Errorf("read %#x: not in the dump", addr)
		}
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

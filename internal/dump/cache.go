package dump

// cacheBytes bounds the cache of pages: 256 of 4 KiB, 16 of 64 KiB.
const cacheBytes = 1 << 20

// cache keeps the blocks of memory that were read last. The zero value is empty.
type cache struct {
	slots []slot
	index map[uint64]int // address → slot
	clock int            // slot that is looked at next for reuse
}

type slot struct {
	addr uint64
	data []byte
	used bool // since the clock passed
}

// get returns the block of size bytes at the physical address addr. It is valid until the
// next call.
func (c *cache) get(m memory, addr uint64, size int) ([]byte, error) {
	if i, ok := c.index[addr]; ok {
		c.slots[i].used = true
		return c.slots[i].data, nil
	}
	i := c.free(size)
	s := &c.slots[i]
	if s.data == nil {
		s.data = make([]byte, size)
	} else {
		delete(c.index, s.addr)
	}
	s.addr, s.used = ^uint64(0), false
	if err := m.readBlock(s.data, addr); err != nil {
		return nil, err
	}
	s.addr, s.used = addr, true
	c.index[addr] = i
	return s.data, nil
}

// free returns a slot to fill: a new one, or one that was not used for a whole turn.
func (c *cache) free(size int) int {
	if c.index == nil {
		c.index = make(map[uint64]int)
	}
	if len(c.slots) < max(cacheBytes/size, 1) {
		c.slots = append(c.slots, slot{})
		return len(c.slots) - 1
	}
	for {
		i := c.clock
		c.clock = (c.clock + 1) % len(c.slots)
		if !c.slots[i].used {
			return i
		}
		c.slots[i].used = false
	}
}

package vmcore

import "fmt"

// The ring buffer of Linux 5.10 and later: kernel/printk/printk_ringbuffer.h.
// A ring of descriptors gives the part of the text ring of each record. A second
// array, beside the descriptors, holds time and length. Positions only
// grow: their low bits are the index, the bits above count the wraps. All
// field offsets come from VMCOREINFO.
const (
	maxDescBits = 26 // log_buf_len is 2 GiB at most, with 32 bytes a record (PRB_AVGBITS)
	maxTextBits = 31

	// The two upper bits of state_var are the state, the others the id.
	descIDMask    = 1<<62 - 1
	descCommitted = 1
	descFinalized = 2

	// A block without data has odd positions; this one is an empty line, any
	// other a record whose text found no room.
	emptyLine = 3
)

type ring struct {
	// sizes of the structures and where their fields are
	descSize, state, begin, next int
	infoSize, ts, textLen        int

	descBits, textBits uint32
	tail, head         uint64

	descs, infos window
	text         window
	descsAt      uint64 // virtual addresses of the three arrays
	infosAt      uint64
	textAt       uint64
}

// readRing reads the records of the ring that the pointer at address prb
// points to.
func (f *File) readRing(out *logReader, prb uint64) error {
	r, err := f.openRing(prb)
	if err != nil {
		return err
	}
	count := uint64(1) << r.descBits
	n := (r.head-r.tail)&descIDMask + 1
	if n > count {
		out.skip(fmt.Errorf("the position of the ring: it holds %d records and claims %d", count, n))
		n = count
	}
	for id := r.head - n + 1; n > 0; id, n = id+1, n-1 {
		if err := r.readRecord(out, id&descIDMask); err != nil {
			return fmt.Errorf("stopped %d records before the end: %w", n, err)
		}
	}
	return nil
}

func (f *File) openRing(prb uint64) (*ring, error) {
	l := layout{info: f.Info}
	counter := l.offset("atomic_long_t.counter")
	lpos := l.offset("prb_desc.text_blk_lpos")
	r := &ring{
		descSize: l.size("prb_desc"),
		state:    l.offset("prb_desc.state_var") + counter,
		begin:    lpos + l.offset("prb_data_blk_lpos.begin"),
		next:     lpos + l.offset("prb_data_blk_lpos.next"),
		infoSize: l.size("printk_info"),
		ts:       l.offset("printk_info.ts_nsec"),
		textLen:  l.offset("printk_info.text_len"),
	}
	desc := uint64(l.offset("printk_ringbuffer.desc_ring"))
	text := uint64(l.offset("printk_ringbuffer.text_data_ring"))
	descBits := desc + uint64(l.offset("prb_desc_ring.count_bits"))
	descs := desc + uint64(l.offset("prb_desc_ring.descs"))
	infos := desc + uint64(l.offset("prb_desc_ring.infos"))
	head := desc + uint64(l.offset("prb_desc_ring.head_id")+counter)
	tail := desc + uint64(l.offset("prb_desc_ring.tail_id")+counter)
	textBits := text + uint64(l.offset("prb_data_ring.size_bits"))
	data := text + uint64(l.offset("prb_data_ring.data"))
	l.within("prb_desc", r.descSize, max(r.state, r.begin, r.next), 8)
	l.within("printk_info", r.infoSize, r.ts, 8)
	l.within("printk_info", r.infoSize, r.textLen, 2)
	if l.err != nil {
		return nil, l.err
	}

	rb, err := f.word(prb)
	if err != nil {
		return nil, fmt.Errorf("prb: %w", err)
	}
	for _, x := range []struct {
		name string
		off  uint64
		half *uint32
		word *uint64
	}{
		{"count_bits", descBits, &r.descBits, nil},
		{"size_bits", textBits, &r.textBits, nil},
		{"descs", descs, nil, &r.descsAt},
		{"infos", infos, nil, &r.infosAt},
		{"data", data, nil, &r.textAt},
		{"head_id", head, nil, &r.head},
		{"tail_id", tail, nil, &r.tail},
	} {
		var err error
		if x.half != nil {
			*x.half, err = f.half(rb + x.off)
		} else {
			*x.word, err = f.word(rb + x.off)
		}
		if err != nil {
			return nil, fmt.Errorf("printk_ringbuffer %s: %w", x.name, err)
		}
	}
	if r.descBits > maxDescBits || r.textBits > maxTextBits {
		return nil, fmt.Errorf("printk_ringbuffer at %#x is damaged: 2^%d records, 2^%d bytes of text", rb, r.descBits, r.textBits)
	}
	r.descs = window{f: f, buf: make([]byte, 16<<10)}
	r.infos = window{f: f, buf: make([]byte, 16<<10)}
	r.text = window{f: f, buf: make([]byte, 64<<10)} // text_len has 16 bits
	return r, nil
}

// readRecord reads the record of a descriptor. After an error the rest of the ring
// cannot be read.
func (r *ring) readRecord(out *logReader, id uint64) error {
	i := id & (1<<r.descBits - 1)
	d, err := r.descs.at(r.descsAt+i*uint64(r.descSize), r.descSize)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", i, err)
	}
	sv := le.Uint64(d[r.state:])
	if s := sv >> 62; sv&descIDMask != id || s != descCommitted && s != descFinalized {
		return nil // free, or its writer had not finished when the kernel crashed
	}
	begin, next := le.Uint64(d[r.begin:]), le.Uint64(d[r.next:])

	info, err := r.infos.at(r.infosAt+i*uint64(r.infoSize), r.infoSize)
	if err != nil {
		return fmt.Errorf("record %d: %w", i, err)
	}
	ts, length := le.Uint64(info[r.ts:]), int(le.Uint16(info[r.textLen:]))

	if begin&1 == 1 && next&1 == 1 {
		if begin == emptyLine && next == emptyLine {
			out.each(ts, nil, info)
		}
		return nil
	}
	at, size, ok := r.block(begin, next)
	if !ok {
		out.skip(fmt.Errorf("record %d: illegal block of text from %#x to %#x", i, begin, next))
		return nil
	}
	if size < uint64(length) {
		out.skip(fmt.Errorf("record %d: text of %d bytes, of which %d are left", i, length, size))
		length = int(size)
	}
	text, err := r.text.at(r.textAt+at, length)
	if err != nil {
		return fmt.Errorf("text of record %d: %w", i, err)
	}
	out.each(ts, text, info)
	return nil
}

// block returns the index and the size of the text in a data block, which
// begins with the 8 bytes of the descriptor's id. A block that would cross the
// end of the ring lies at the beginning instead. For older kernels a block that ends
// right at the end crosses it, for newer ones it does not. Positions overflow.
func (r *ring) block(begin, next uint64) (at, size uint64, ok bool) {
	const idSize = 8
	ringSize := uint64(1) << r.textBits
	last := next - 1
	end := last&(ringSize-1) + 1
	switch {
	case begin < last && begin>>r.textBits == last>>r.textBits:
		at = begin & (ringSize - 1)
	case (begin+ringSize)>>r.textBits == last>>r.textBits:
		at = 0
	default:
		return 0, 0, false
	}
	if begin%idSize != 0 || end < at+idSize {
		return 0, 0, false
	}
	return at + idSize, end - at - idSize, true
}

package vmcore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// core builds an ELF core. Its zero value is an x86-64 core without memory.
type core struct {
	machine uint16
	info    string
	cpus    int
	mem     []block
	flags   uint32
	xnum    bool // write e_phnum as PN_XNUM
}

// block is a piece of memory.
type block struct {
	vaddr, paddr uint64
	data         []byte
}

func (c *core) bytes() []byte {
	phnum := len(c.mem) + 1
	var notes []byte
	for range c.cpus {
		notes = append(notes, note("CORE", ntPrstat, make([]byte, 336))...)
	}
	if c.info != "" {
		notes = append(notes, note("VMCOREINFO", 0, []byte(c.info))...)
	}
	h := make([]byte, ehdrSize)
	copy(h, elfMagic+"\x02\x01\x01")
	le.PutUint16(h[16:], etCore)
	le.PutUint16(h[18:], c.machine)
	if c.machine == 0 {
		le.PutUint16(h[18:], emX86)
	}
	le.PutUint64(h[32:], ehdrSize)
	le.PutUint32(h[48:], c.flags)
	le.PutUint16(h[54:], phdrSize)
	le.PutUint16(h[56:], uint16(phnum))
	off := uint64(ehdrSize + phnum*phdrSize)
	var sh []byte
	if c.xnum {
		le.PutUint16(h[56:], pnXnum)
		le.PutUint64(h[40:], off)
		sh = make([]byte, 64)
		le.PutUint32(sh[44:], uint32(phnum))
		off += uint64(len(sh))
	}
	out, body := h, notes
	phdr := func(typ uint32, vaddr, paddr, size uint64) {
		p := make([]byte, phdrSize)
		le.PutUint32(p[0:], typ)
		le.PutUint64(p[8:], off)
		le.PutUint64(p[16:], vaddr)
		le.PutUint64(p[24:], paddr)
		le.PutUint64(p[32:], size)
		le.PutUint64(p[40:], size)
		out = append(out, p...)
		off += size
	}
	phdr(ptNote, 0, 0, uint64(len(notes)))
	for _, m := range c.mem {
		phdr(ptLoad, m.vaddr, m.paddr, uint64(len(m.data)))
		body = append(body, m.data...)
	}
	return append(append(out, sh...), body...)
}

func note(name string, typ uint32, desc []byte) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
	b := make([]byte, nhdrSize)
	le.PutUint32(b[0:], uint32(len(name)+1))
	le.PutUint32(b[4:], uint32(len(desc)))
	le.PutUint32(b[8:], typ)
	b = append(b, pad([]byte(name+"\x00"))...)
	return append(b, pad(bytes.Clone(desc))...)
}

// Where the builders of logs put things in virtual memory.
const (
	dataAddr = 0xffffffff82000000 // the kernel's data, text mapping
	bufAddr  = 0xffff888000100000 // arrays, direct map
)

// prb writes a printk ring as a kernel does: it drops the oldest records when
// one of the arrays is full.
type prb struct {
	descBits, textBits uint
	exactFit           bool // a block may end right at the end of the ring (6.19)
	swapped            bool // another layout of all structures

	descs, infos, text []byte
	head, tail         uint64 // ids
	headPos, tailPos   uint64
	ends               map[uint64]uint64 // end of the block of each id
}

func newPRB(descBits, textBits uint) *prb {
	n := uint64(1) << descBits
	return &prb{
		descBits: descBits, textBits: textBits,
		descs: make([]byte, 32<<descBits), infos: make([]byte, 64<<descBits), text: make([]byte, 1<<textBits),
		// The kernel starts close to the overflow (DESC0_ID, BLK0_LPOS).
		head: -(n + 1) & descIDMask, tail: -(n + 1) & descIDMask,
		headPos: -(uint64(1) << textBits), tailPos: -(uint64(1) << textBits),
		ends: make(map[uint64]uint64),
	}
}

// fields are the offsets in the descriptor (state, begin, next) and in the info
// (ts_nsec, text_len).
func (p *prb) fields() (state, begin, next, ts, length int) {
	if p.swapped {
		return 24, 8, 0, 40, 2
	}
	return 0, 8, 16, 8, 16
}

func (p *prb) set(id, state, begin, next, ts uint64, length int) {
	s, b, n, t, l := p.fields()
	i := int(id & (1<<p.descBits - 1))
	d, in := p.descs[32*i:], p.infos[64*i:]
	le.PutUint64(d[s:], state<<62|id)
	le.PutUint64(d[b:], begin)
	le.PutUint64(d[n:], next)
	le.PutUint64(in[t:], ts)
	le.PutUint16(in[l:], uint16(length))
}

func (p *prb) reserve() uint64 {
	p.head = (p.head + 1) & descIDMask
	for (p.head-p.tail)&descIDMask >= 1<<p.descBits {
		p.drop()
	}
	return p.head
}

func (p *prb) drop() {
	if end, ok := p.ends[p.tail]; ok {
		p.tailPos = end
	}
	p.tail = (p.tail + 1) & descIDMask
}

func (p *prb) add(ts uint64, text string) {
	id := p.reserve()
	size := (uint64(len(text)) + 8 + 7) &^ 7
	ring := uint64(1) << p.textBits
	begin, next := p.headPos, p.headPos+size
	at := begin & (ring - 1)
	last := next
	if p.exactFit {
		last--
	}
	if begin>>p.textBits != last>>p.textBits {
		next = next&^(ring-1) + size
		at = 0
	}
	for next-p.tailPos > ring {
		p.drop()
	}
	le.PutUint64(p.text[at:], id)
	copy(p.text[at+8:], text)
	p.headPos = next
	p.ends[id] = next
	p.set(id, descFinalized, begin, next, ts, len(text))
}

// core returns the core of a kernel with this ring.
func (p *prb) core() *core {
	s, b, n, t, l := p.fields()
	rb := make([]byte, 128)
	desc, text := 8, 64
	if p.swapped {
		desc, text = 64, 0
	}
	le.PutUint32(rb[desc+4:], uint32(p.descBits))
	le.PutUint64(rb[desc+8:], bufAddr)
	le.PutUint64(rb[desc+16:], bufAddr+uint64(len(p.descs)))
	le.PutUint64(rb[desc+24:], p.head)
	le.PutUint64(rb[desc+32:], p.tail)
	le.PutUint32(rb[text+4:], uint32(p.textBits))
	le.PutUint64(rb[text+8:], bufAddr+uint64(len(p.descs)+len(p.infos)))
	data := append(binary.LittleEndian.AppendUint64(nil, dataAddr+8), rb...)
	arrays := append(append(bytes.Clone(p.descs), p.infos...), p.text...)
	return &core{
		cpus: 1,
		info: "OSRELEASE=6.1.0-test\nPAGESIZE=4096\n" + fmt.Sprintf("SYMBOL(prb)=%x\n", uint64(dataAddr)) +
			fmt.Sprintf("OFFSET(printk_ringbuffer.desc_ring)=%d\nOFFSET(printk_ringbuffer.text_data_ring)=%d\n", desc, text) +
			"OFFSET(prb_desc_ring.count_bits)=4\nOFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\n" +
			"OFFSET(prb_desc_ring.head_id)=24\nOFFSET(prb_desc_ring.tail_id)=32\n" +
			"OFFSET(prb_data_ring.size_bits)=4\nOFFSET(prb_data_ring.data)=8\nOFFSET(atomic_long_t.counter)=0\n" +
			"SIZE(prb_desc)=32\nSIZE(printk_info)=64\n" +
			fmt.Sprintf("OFFSET(prb_desc.state_var)=%d\nOFFSET(prb_desc.text_blk_lpos)=0\n", s) +
			fmt.Sprintf("OFFSET(prb_data_blk_lpos.begin)=%d\nOFFSET(prb_data_blk_lpos.next)=%d\n", b, n) +
			fmt.Sprintf("OFFSET(printk_info.ts_nsec)=%d\nOFFSET(printk_info.text_len)=%d\n", t, l) +
			"NUMBER(phys_base)=0\nCRASHTIME=1700000000",
		mem: []block{{dataAddr, dataAddr - x86TextBase, data}, {bufAddr, 0x100000, arrays}},
	}
}

// records writes a log_buf as Linux 3.5 to 5.9 do.
type records struct {
	buf         []byte
	first, next uint32
	used        []uint32 // indices of the records
}

const recordHdr = 16

func (l *records) add(ts uint64, text string) {
	size := uint32(recordHdr+len(text)+4+3) &^ 3 // 4 bytes of dictionary
	for !l.fits(size) {
		l.used = l.used[1:]
		l.first = l.next
		if len(l.used) > 0 {
			l.first = l.used[0]
		}
	}
	if l.next+size+recordHdr > uint32(len(l.buf)) {
		clear(l.buf[l.next : l.next+recordHdr])
		l.next = 0
		if len(l.used) == 0 {
			l.first = 0
		}
	}
	h := l.buf[l.next:]
	le.PutUint64(h[0:], ts)
	le.PutUint16(h[8:], uint16(size))
	le.PutUint16(h[10:], uint16(len(text)))
	copy(h[recordHdr:], text+"DICT")
	l.used = append(l.used, l.next)
	l.next += size
}

func (l *records) fits(size uint32) bool {
	if len(l.used) == 0 {
		return true
	}
	if l.next > l.first {
		return l.next+size+recordHdr <= uint32(len(l.buf)) || size+recordHdr < l.first
	}
	return l.next+size+recordHdr < l.first
}

func (l *records) core(name string) *core {
	vars := make([]byte, 32)
	le.PutUint64(vars[0:], bufAddr)
	le.PutUint32(vars[8:], uint32(len(l.buf)))
	le.PutUint32(vars[12:], l.first)
	le.PutUint32(vars[16:], l.next)
	return &core{
		cpus: 2,
		info: strings.ReplaceAll(fmt.Sprintf("OSRELEASE=4.19.0\nSYMBOL(log_buf)=%x\nSYMBOL(log_buf_len)=%x\n", uint64(dataAddr), uint64(dataAddr+8))+
			fmt.Sprintf("SYMBOL(log_first_idx)=%x\nSYMBOL(log_next_idx)=%x\n", uint64(dataAddr+12), uint64(dataAddr+16))+
			"SIZE(NAME)=16\nOFFSET(NAME.ts_nsec)=0\nOFFSET(NAME.len)=8\nOFFSET(NAME.text_len)=10\nOFFSET(NAME.dict_len)=12\n", "NAME", name),
		mem: []block{{dataAddr, dataAddr - x86TextBase, vars}, {bufAddr, 0x100000, l.buf}},
	}
}

func mustOpen(t *testing.T, b []byte) *File {
	t.Helper()
	f, err := Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func decode(t *testing.T, c *core) (string, error) {
	t.Helper()
	var w bytes.Buffer
	err := mustOpen(t, c.bytes()).WriteLog(&w)
	return w.String(), err
}

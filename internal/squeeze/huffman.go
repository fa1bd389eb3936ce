package squeeze

import "math/bits"

const (
	huffMaxLog  = 11  // longest code, RFC 8878, section 4.2.1
	huffLeast   = 64  // fewer literals are not compressed
	huffExact   = 128 // smaller counts are sorted by counting
	weightsMost = 6   // largest log of the table of weights
)

// huffman packs the literals of a page, RFC 8878, sections 3.1.1.3.1 and 4.2.
type huffman struct {
	counts  [4][256]uint16 // four, since one byte is often many times in a row
	symbols [257]uint32    // those that occur: count<<8 | symbol
	order   [258]uint32    // the same by count
	leaves  [32]uint16     // codes of each length
	length  [256]uint8     // of the code of a symbol
	codes   [256]uint32    // code<<8 | length
	log     int            // length of the longest code
	last    int            // highest symbol
	weights fseTable
}

// pack writes the literals section and returns the end. It writes at most 512 bytes more
// than there are literals.
func (h *huffman) pack(dst []byte, out int, lits []byte) int {
	n := len(lits)
	if n < huffLeast {
		return rawLiterals(dst, out, lits)
	}
	most, kinds := h.count(lits)
	if kinds == 1 {
		out = literalsHeader(dst, out, 1, n)
		dst[out] = lits[0]
		return out + 1
	}
	if most <= n>>7+4 { // as good as random
		return rawLiterals(dst, out, lits)
	}
	h.build(kinds, n)

	// The size of the header depends on n, and that of the jump table on the streams.
	format, head := 2, 4
	switch {
	case n < 256:
		format, head = 0, 3
	case n < 1<<10:
		format, head = 1, 3
	case n >= 1<<14:
		format, head = 3, 5
	}
	end, ok := h.writeTree(dst, out+head, kinds)
	gain := n>>6 + 2 // less is not worth the time that it takes to unpack
	if !ok || end-out+h.size(kinds)/8+gain >= n {
		return rawLiterals(dst, out, lits)
	}
	if format == 0 {
		end = h.encode(dst, end, lits)
	} else {
		jump := dst[end : end+6]
		end += 6
		part := (n + 3) / 4
		for i := range 3 {
			from := end
			end = h.encode(dst, end, lits[i*part:(i+1)*part])
			le.PutUint16(jump[2*i:], uint16(end-from))
		}
		end = h.encode(dst, end, lits[3*part:])
	}
	packed := end - out - head
	if packed+gain >= n {
		return rawLiterals(dst, out, lits)
	}
	width := 10 + 4*max(format-1, 0) // of both sizes
	v := 2 | uint64(format)<<2 | uint64(n)<<4 | uint64(packed)<<(4+width)
	for i := range head {
		dst[out+i] = byte(v >> (8 * i))
	}
	return end
}

// literalsHeader writes the header for literals that are stored (0) or all the same (1).
func literalsHeader(dst []byte, out, kind, n int) int {
	switch {
	case n < 1<<5:
		dst[out] = byte(kind | n<<3)
		return out + 1
	case n < 1<<12:
		le.PutUint16(dst[out:], uint16(kind|1<<2|n<<4))
		return out + 2
	}
	le.PutUint32(dst[out:], uint32(kind|3<<2|n<<4))
	return out + 3
}

func rawLiterals(dst []byte, out int, lits []byte) int {
	out = literalsHeader(dst, out, 0, len(lits))
	return out + copy(dst[out:], lits)
}

// count counts the bytes. It returns the largest count and the number of symbols.
func (h *huffman) count(lits []byte) (most, kinds int) {
	c0, c1, c2, c3 := &h.counts[0], &h.counts[1], &h.counts[2], &h.counts[3]
	clear(c0[:])
	clear(c1[:])
	clear(c2[:])
	clear(c3[:])
	i := 0
	for ; i+8 <= len(lits); i += 8 {
		x := le.Uint64(lits[i:])
		c0[byte(x)]++
		c1[byte(x>>8)]++
		c2[byte(x>>16)]++
		c3[byte(x>>24)]++
		c0[byte(x>>32)]++
		c1[byte(x>>40)]++
		c2[byte(x>>48)]++
		c3[byte(x>>56)]++
	}
	for ; i < len(lits); i++ {
		c0[lits[i]]++
	}
	top := uint32(0)
	for s := range c0 {
		c := uint32(c0[s]) + uint32(c1[s]) + uint32(c2[s]) + uint32(c3[s])
		h.symbols[kinds] = c<<8 | uint32(s)
		kinds += int((c + 1<<16 - 1) >> 16) // 0 or 1: a branch cannot be predicted
		top = max(top, c)
	}
	h.last = int(byte(h.symbols[kinds-1]))
	return int(top), kinds
}

// sort sorts the symbols by their counts.
func (h *huffman) sort(kinds int) {
	var start [huffExact + 1]uint16
	symbols := h.symbols[:kinds]
	for _, x := range symbols {
		start[min(x>>8, huffExact)]++
	}
	total := uint16(0)
	for i, n := range start {
		start[i] = total
		total += n
	}
	frequent := int(start[huffExact])
	for _, x := range symbols {
		at := &start[min(x>>8, huffExact)]
		h.order[*at&255] = x
		*at++
	}
	for i := frequent + 1; i < kinds; i++ {
		x, j := h.order[i], i
		for ; j > frequent && h.order[j-1] > x; j-- {
			h.order[j] = h.order[j-1]
		}
		h.order[j] = x
	}
}

// build makes the codes for n literals.
func (h *huffman) build(kinds, n int) {
	h.sort(kinds)
	h.measure(kinds)
	limit := min(huffMaxLog, max(bits.Len(uint(n-1))-2, bits.Len(uint(kinds-1))+1))
	h.log = shorten(h.leaves[:], limit)
	// The rarest symbols have the longest codes, and those begin at 0.
	clear(h.length[:h.last+1])
	var next [16]uint32
	code, at := uint32(0), 0
	for l := h.log; l > 0; l-- {
		next[l] = code
		code = (code + uint32(h.leaves[l])) >> 1
		for range h.leaves[l] {
			h.length[byte(h.order[at])] = uint8(l)
			at++
		}
	}
	for s, l := range h.length[:h.last+1] {
		h.codes[s] = next[l&15]<<8 | uint32(l)
		next[l&15]++
	}
}

// measure counts the leaves of each depth of the tree.
func (h *huffman) measure(kinds int) {
	// Nodes are made in the order of their counts, so two queues suffice: one of the
	// symbols and one of the nodes that have no parent yet.
	const never = 1<<32 - 1
	h.order[kinds], h.order[kinds+1] = never, never
	var nodes [256]uint32
	for i := range nodes {
		nodes[i] = never
	}
	var parent [256]uint8
	leaf, node := 0, 0
	for i := range kinds - 1 {
		a, b := h.order[leaf]>>8, h.order[leaf+1]>>8
		c, d := nodes[node&255], nodes[(node+1)&255]
		switch {
		case b <= c:
			nodes[i&255] = a + b
			leaf += 2
		case d < a:
			nodes[i&255] = c + d
			parent[node&255], parent[(node+1)&255] = uint8(i), uint8(i)
			node += 2
		default:
			nodes[i&255] = a + c
			parent[node&255] = uint8(i)
			leaf++
			node++
		}
	}
	// No node is deeper than one before it, so those of a depth follow each other. What is
	// not a node among the children of a depth is a leaf.
	clear(h.leaves[:])
	first := kinds - 2 // of the nodes of the depth above
	above, at := 1, first-1
	for depth := 1; above > 0; depth++ {
		n := 0
		for ; at >= 0 && int(parent[at]) >= first; at-- {
			n++
		}
		h.leaves[depth&31] = uint16(2*above - n)
		first, above = at+1, n
	}
}

// shorten makes all codes limit bits long at most, so that they still are a complete code.
// It returns the length of the longest.
func shorten(leaves []uint16, limit int) int {
	for d := limit + 1; d < len(leaves); d++ {
		leaves[limit] += leaves[d]
		leaves[d] = 0
	}
	sum, longest := 0, 0 // in units of the smallest share, 1/2^limit
	for d := 1; d <= limit; d++ {
		sum += int(leaves[d]) << (limit - d)
		if leaves[d] > 0 {
			longest = d
		}
	}
	for ; sum > 1<<limit; sum-- {
		leaves[limit]--
		for d := limit - 1; d > 0; d-- {
			if leaves[d] > 0 {
				leaves[d]--
				leaves[d+1] += 2
				break
			}
		}
	}
	return longest
}

// size returns how many bits all literals take.
func (h *huffman) size(kinds int) int {
	n := 0
	for _, x := range h.symbols[:kinds] {
		n += int(x>>8) * int(h.length[byte(x)])
	}
	return n
}

// encode writes one stream, from its end, and returns where it ends.
func (h *huffman) encode(dst []byte, out int, lits []byte) int {
	b := bitstream{out: out}
	i := len(lits)
	for ; i >= 5; i -= 5 { // 7 bits from before and 5 codes are 62 at most
		p := lits[i-5 : i]
		c := h.codes[p[4]]
		b = b.add(c>>8, uint(c&15))
		c = h.codes[p[3]]
		b = b.add(c>>8, uint(c&15))
		c = h.codes[p[2]]
		b = b.add(c>>8, uint(c&15))
		c = h.codes[p[1]]
		b = b.add(c>>8, uint(c&15))
		c = h.codes[p[0]]
		b = b.add(c>>8, uint(c&15))
		b = b.flush(dst)
	}
	for i--; i >= 0; i-- {
		c := h.codes[lits[i]]
		b = b.add(c>>8, uint(c&15))
	}
	return b.end(dst)
}

// writeTree writes the weights of the symbols but the last, which follows from them, and
// returns the end. It is false if that does not pay.
func (h *huffman) writeTree(dst []byte, out, kinds int) (end int, ok bool) {
	var weightOf [16]uint8 // of a length
	for l := 1; l <= h.log; l++ {
		weightOf[l] = uint8(h.log + 1 - l)
	}
	n := h.last
	var weights [256]uint8
	for s, l := range h.length[:n] {
		weights[s] = weightOf[l&15]
	}
	var counts [huffMaxLog + 1]uint16
	counts[0] = uint16(n + 1 - kinds)
	for l := 1; l <= h.log; l++ {
		counts[h.log+1-l] = h.leaves[l]
	}
	counts[weightOf[h.length[n]]]--
	if end, ok := h.packWeights(dst, out+1, weights[:n], &counts); ok {
		dst[out] = byte(end - out - 1)
		return end, true
	}
	if n > 128 {
		return out, false
	}
	dst[out] = byte(127 + n)
	for i := 0; i < n; i += 2 {
		dst[out+1+i/2] = weights[i]<<4 | weights[i+1]
	}
	return out + 1 + (n+1)/2, true
}

// packWeights compresses weights. It is false if that does not help.
func (h *huffman) packWeights(dst []byte, out int, weights []uint8, counts *[huffMaxLog + 1]uint16) (end int, ok bool) {
	n := len(weights)
	most, high := uint16(0), 0
	for w, c := range counts {
		most = max(most, c)
		if c > 0 {
			high = w
		}
	}
	if n < 2 || int(most) == n || most == 1 {
		return 0, false
	}
	var norm [huffMaxLog + 1]int16
	log := fseLog(weightsMost, n, high)
	normalize(norm[:high+1], counts[:high+1], n, log)
	t := &h.weights
	t.build(log, norm[:high+1])
	b := bitstream{out: writeNorm(dst, out, norm[:high+1], log)}
	// Two states take turns; the first begins.
	i := n - 2
	even, odd := t.start(weights[i]), t.start(weights[i+1])
	if n&1 != 0 {
		i--
		even, odd = odd, even
		b, even = t.encode(b, even, weights[i])
	}
	for i -= 2; i >= 0; i -= 2 {
		b, odd = t.encode(b, odd, weights[i+1])
		b, even = t.encode(b, even, weights[i])
		b = b.flush(dst)
	}
	end = t.end(t.end(b, odd), even).end(dst)
	return end, end-out < min(128, n/2)
}

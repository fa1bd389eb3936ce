package lvm

import (
	"bytes"
	"testing"
)

// FuzzReadSummed mends the checksums of its input, which otherwise hide all code behind
// them.
func FuzzReadSummed(f *testing.F) {
	f.Add(disk(metadata, 512, 4096))
	f.Add(disk(metadata, 3000, 4096))
	f.Add(disk("", 512, 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		mend(b)
		pv, vg, err := Read(bytes.NewReader(b))
		if vg != nil && (pv == "" || err != nil) {
			t.Errorf("a volume group on %q with the error %v", pv, err)
		}
		if vg == nil {
			return
		}
		for _, s := range vg.lvs.parts {
			lv := &LV{s}
			vg.Layout(lv)
			vg.Table(lv, device)
		}
	})
}

// mend makes the checksums of labels, metadata headers and metadata right.
func mend(b []byte) {
	for at := 0; at+sector <= len(b); at += sector {
		s := b[at:]
		if string(s[:8]) == "LABELONE" {
			le.PutUint32(s[16:], sum(s[20:sector]))
		}
		if string(s[4:20]) != mdaMagic {
			continue
		}
		length, offset, size := le.Uint64(s[32:]), le.Uint64(s[40:]), le.Uint64(s[48:])
		if end := uint64(len(s)); size <= maxText && offset <= end && length >= offset {
			n := min(size, length-offset, end-offset)
			text := append([]byte(nil), s[offset:offset+n]...)
			if rest := size - n; headerLen+rest <= end {
				text = append(text, s[headerLen:headerLen+rest]...)
			}
			le.PutUint32(s[56:], sum(text))
		}
		le.PutUint32(s, sum(s[4:headerLen]))
	}
}

package fsid

import (
	"bytes"
	"hash/crc32"
	"testing"
)

// FuzzGPT mends the checksums of its input, which otherwise hide all code behind them.
func FuzzGPT(f *testing.F) {
	for name, sector := range map[string]int{"gpt512": 512, "gpt4k": 4096} {
		f.Add([]byte(disk(f, name)[:6*4096]), sector, 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, sector, n int) {
		b = bytes.Clone(b)
		for at := 0; at+512 <= len(b); at += 512 {
			h := b[at : at+512]
			length := le.Uint32(h[12:])
			if string(h[:8]) != "EFI PART" || length < 92 || length > 512 {
				continue
			}
			table, size := le.Uint64(h[72:])*uint64(max(sector, 0)), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
			if table <= uint64(len(b)) && size <= uint64(len(b))-table {
				le.PutUint32(h[88:], crc32.ChecksumIEEE(b[table:table+size]))
			}
			clear(h[16:20])
			le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:length]))
		}
		id, err := PartUUID(bytes.NewReader(b), int64(len(b)), sector, n)
		if err == nil && id == "" {
			t.Error("no identifier and no error")
		}
	})
}

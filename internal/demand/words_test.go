package demand

import "testing"

// Words of BOOT_OPTIONS that take memory, in KiB beside the demand without them.
func TestWords(t *testing.T) {
	high := at(16, 192)
	high.Ranges = append(high.Ranges, at(5120, 192).Ranges...)
	for _, tt := range []struct {
		words string
		high  bool
		want  int64
	}{
		{words: "quiet slub_debug=FZP init_on_alloc=1", want: 0},
		{words: "log_buf_len=16M", want: 72 << 10},
		{words: "log_buf_len=16MB", want: 72 << 10},
		{words: "log_buf_len=9M", want: 72 << 10},
		{words: `log_buf_len="16M"`, want: 72 << 10},
		{words: "log_buf_len=16M log_buf_len=1M", want: 4608},
		{words: "log_buf_len=0x1000000", want: 72 << 10},
		{words: "log_buf_len=1G", want: 0}, // does not fit, the kernel goes on with its own
		{words: "log_buf_len=64Q log_buf_len=", want: 0},
		{words: "log_buf_len=-5 cma=-7M", want: 0},
		{words: "log_buf_len=99999999999999999999", want: 0},
		{words: "dhash_entries=1000000", want: 8 << 10},
		{words: "dhash_entries=4000000000 ihash_entries=1024", want: 12<<10 + 8},
		{words: "thash_entries=none", want: 0},
		{words: "swiotlb=65536", want: 0}, // no memory above 4 GiB
		{words: "swiotlb=65536,force", want: 128 << 10},
		{words: "swiotlb=force", want: 64 << 10},
		{words: "swiotlb=65536", high: true, want: 64 << 10},
		{words: "swiotlb=noforce", high: true, want: 0},
		{words: "swiotlb=512", high: true, want: 0},
		{words: "cma=0", want: 0},
		{words: "cma=0 cma=64M@0-4G", want: 64 << 10},
		{words: "coherent_pool=2m", want: 2 << 10},
		{words: "trace_buf_size=10M", want: 0},
		{words: "trace_buf_size=10M ftrace=function nr_cpus=2", want: 21 << 10}, // and a processor
	} {
		r := at(16, 192)
		if tt.high {
			r = high
		}
		c := Capture{Arch: "amd64", PageSize: 4096, Release: "6.12.1", InitSize: 50 * mib, Cmdline: lockdown}
		before, _ := c.Bytes(r, Machine{CPUs: 4})
		c.Cmdline += " " + tt.words
		after, _ := c.Bytes(r, Machine{CPUs: 4})
		if got := (after - before) / kib; got != tt.want {
			t.Errorf("%s: %d KiB, want %d", tt.words, got, tt.want)
		}
	}
}

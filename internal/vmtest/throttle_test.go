package vmtest

import (
	"slices"
	"testing"
)

func TestVCPUThreads(t *testing.T) {
	for text, want := range map[string][]int{
		"* CPU #0: thread_id=12574":                            {12574},
		"* CPU #0: thread_id=12574\n  CPU #1: thread_id=12575": {12574, 12575},
		"":                             nil,
		"unknown command: 'info cpus'": nil,
		"* CPU #0: thread_id=99999999999999999999": nil,
	} {
		got, err := vcpuThreads(text)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

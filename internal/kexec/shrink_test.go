package kexec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShrink(t *testing.T) {
	for _, name := range []string{"sys/kernel/kexec_crash_size", "sys/kernel/kexec/crash_size"} {
		s := newSlot(t, machine{name: "268435456\n"}, nil)
		if n, err := s.Shrink(96 << 20); err != nil || n != 96<<20 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		b, err := os.ReadFile(filepath.Join(s.Root, name))
		if err != nil || strings.TrimSpace(string(b)) != "100663296" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	s := newSlot(t, machine{"sys/kernel/kexec_crash_size": ""}, nil)
	if err := os.Remove(filepath.Join(s.Root, "sys/kernel/kexec_crash_size")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if _, err := s.Shrink(1 << 20); err == nil {
		t.Error("a kernel without a crash slot was shrunk")
	}
}

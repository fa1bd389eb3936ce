package rescue

import (
	"os/exec"
	"strings"
	"testing"
)

// The shell's libraries are no part of any other program.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "ukdump/cmd/kdumpinit", "ukdump/cmd/kdumpctl", "ukdump/cmd/mkkdumpinitrd").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		for _, prefix := range []string{"ukdump/internal/rescue", "github.com/u-root/u-root/pkg/core/", "mvdan.cc/sh/"} {
			if strings.HasPrefix(line, prefix) {
				t.Errorf("a program other than ukdump-rescue links %s", strings.TrimSpace(line))
			}
		}
	}
}

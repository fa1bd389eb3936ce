package rescue

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// deviceTree has what kdumpctl uses to load on arm64.
var deviceTree = []string{"github.com/u-root/u-root/pkg/dt", "github.com/u-root/u-root/pkg/align"}

// The shell's libraries are no part of any other program.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "ukdump/cmd/kdumpinit", "ukdump/cmd/kdumpctl", "ukdump/cmd/mkkdumpinitrd").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		for _, prefix := range []string{"ukdump/internal/rescue", "github.com/u-root/u-root/", "mvdan.cc/sh/"} {
			if strings.HasPrefix(name, prefix) && !slices.Contains(deviceTree, name) {
				t.Errorf("a program other than ukdump-rescue links %s", name)
			}
		}
	}
}

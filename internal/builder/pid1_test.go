package builder

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ukdump/internal/builder/buildtest"
	"ukdump/internal/config"
	"ukdump/internal/plan"
)

func TestReadPid1(t *testing.T) {
	dir := t.TempDir()
	good := buildtest.Pid1(plan.Stamp)
	dynamic := good
	dynamic.Interp = interp
	arm := good
	arm.Machine = elf.EM_AARCH64
	for _, tt := range []struct {
		name    string
		content []byte
		arch    string
		want    string // part of the error
	}{
		{"good", good.Bytes(), "amd64", ""},
		{"good for arm64", arm.Bytes(), "arm64", ""},
		{"wrong-arch", arm.Bytes(), "amd64", "built for EM_AARCH64, the kernel needs EM_X86_64"},
		{"dynamic", dynamic.Bytes(), "amd64", "dynamically linked, and the image has no libraries for it"},
		{"old", buildtest.Pid1(plan.Marker + "0.0.1;").Bytes(), "amd64", `version "0.0.1", but this is version ` + plan.Software},
		{"longer", buildtest.Pid1(plan.Marker + plan.Software + "0;").Bytes(), "amd64", "but this is version "},
		{"without-end", buildtest.Pid1(plan.Marker + strings.Repeat("1", 1000)).Bytes(), "amd64", "but this is version "},
		{"other", buildtest.Pid1("busybox").Bytes(), "amd64", "not a program of ukdump for its image"},
		{"script", []byte("#!/bin/sh\n"), "amd64", "not a program"},
		{"empty", nil, "amd64", "not a program"},
		{"cut", good.Bytes()[:100], "amd64", "not a program"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, tt.content, 0o755); err != nil {
			t.Fatal(err)
		}
		checkPid1(t, path, tt.arch, tt.want)
	}
	checkPid1(t, filepath.Join(dir, "none"), "amd64", "no such file or directory")
	checkPid1(t, dir, "amd64", "not a program")
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, maxPid1+1); err != nil {
		t.Fatal(err)
	}
	checkPid1(t, huge, "amd64", "not a program")
}

func checkPid1(t *testing.T, path, arch, want string) {
	t.Helper()
	b, err := readPid1(path, arch)
	if want == "" {
		if err != nil || len(b) == 0 {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
		return
	}
	if !errors.As(err, new(*Pid1Error)) || !strings.HasPrefix(err.Error(), "kdumpinit: "+path+": ") || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want %q", path, err, want)
	}
}

func TestDeadlines(t *testing.T) {
	for _, tt := range []struct {
		timeout               time.Duration
		gib                   int64
		total, finish, device int
	}{
		{0, 1, 15 * 60, 180, 60},
		{0, 15, 15 * 60, 180, 60},
		{0, 16, 16 * 60, 180, 60},
		{0, 4096, (15 + 256) * 60, 180, 60},
		{10 * time.Minute, 4096, 600, 120, 60},
		{time.Minute, 1, 60, 12, 12},
		{time.Second, 1, 1, 1, 1},
		{168 * time.Hour, 1, 604800, 180, 60},
	} {
		c := config.Default()
		c.Timeout = tt.timeout
		d := deadlines(c, tt.gib<<30)
		if d.Total != tt.total || d.Finish != tt.finish || d.Device != tt.device {
			t.Errorf("timeout %v, %d GiB: got %+v, want total %d, finish %d, device %d", tt.timeout, tt.gib, d, tt.total, tt.finish, tt.device)
		}
	}
}

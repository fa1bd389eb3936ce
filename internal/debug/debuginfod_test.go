package debug

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ukdump/internal/debug/debugtest"
)

// lookup returns the path of a program, or skips the test.
func lookup(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	return path
}

// serveDebuginfo starts debuginfod(8) for the files in dir and returns its URL once it has
// indexed the build ID.
func serveDebuginfo(t *testing.T, dir, id string) string {
	t.Helper()
	program := lookup(t, "debuginfod")
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command(program, "-F", "-c1", "-d", ":memory:", "-p", fmt.Sprint(port), dir)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")} // no server behind it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	client := http.Client{Timeout: 5 * time.Second}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if len(ended) > 0 {
			err := <-ended
			ended <- err
			t.Fatalf("debuginfod ended: %v", err)
		}
		resp, err := client.Get(url + "/buildid/" + id + "/debuginfo")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return url
		}
	}
	t.Fatal("debuginfod has not indexed the file within a minute")
	return ""
}

// The programs of elfutils: a server on loopback that has the vmlinux of one build ID, and a
// server that nobody runs.
func TestDebuginfodServer(t *testing.T) {
	find := lookup(t, "debuginfod-find")
	dir := t.TempDir()
	write(t, dir, "vmlinux.debug", debugtest.Vmlinux(debugtest.Kernel{BuildID: id, Release: release, Version: version, DWARF: true}))
	url := serveDebuginfo(t, dir, id)
	t.Setenv("DEBUGINFOD_CACHE_PATH", t.TempDir())
	d := Debuginfod{Root: t.TempDir(), Program: find, Limit: time.Minute}
	f := Finder{Root: t.TempDir(), Download: d.Find}
	kernel := Kernel{Machine: "amd64", Release: release, Version: version, BuildID: id}
	for _, tt := range []struct {
		name, urls, id string
		found          bool
	}{
		{"another build", url, otherID, false},
		{"no server", "http://127.0.0.1:1", id, false},
		{"the second server", "http://127.0.0.1:1 " + url, id, true},
		{"from the cache", "http://127.0.0.1:1", id, true},
	} {
		t.Setenv("DEBUGINFOD_URLS", tt.urls)
		kernel.BuildID = tt.id
		got, err := f.Find(kernel, "")
		if (err == nil) != tt.found {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
		if tt.found && (!got.Exact || !filepath.IsAbs(got.Path)) {
			t.Errorf("%s: %+v", tt.name, got)
		}
		t.Logf("%s: %v", tt.name, err)
	}
}

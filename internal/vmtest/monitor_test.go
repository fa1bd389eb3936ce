package vmtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMonitor(t *testing.T) {
	fakeQEMU(t, `
exec <&3 >&3
echo '{"QMP": {"version": {}, "capabilities": []}}'
read -r line
echo "$line" >"$0.log"
echo '{"return": {}}'
while read -r line; do
	echo "$line" >>"$0.log"
	echo '{"event": "RESUME"}'
	case $line in
	*quit*) echo '{"return": ""}'; exit 0 ;;
	*bad*) echo '{"return": "Error: no device\\r\\n"}' ;;
	*worse*) echo '{"error": {"class": "GenericError", "desc": "no such command"}}' ;;
	*) echo '{"return": "one\\r\\ntwo\\r\\n"}' ;;
	esac
done
`)
	vm, err := Start(t.Context(), Options{Kernel: "/k"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ line, out, err string }{
		{"info block", "one\ntwo", ""},
		{"bad", "", "monitor: bad: Error: no device"},
		{"worse", "", "monitor: worse: no such command"},
		{"quit", "", ""},
	} {
		out, err := vm.Monitor(tt.line)
		if tt.err == "" && (err != nil || out != tt.out) {
			t.Errorf("%s: %q, %v", tt.line, out, err)
		}
		if tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s: error %v, want %s", tt.line, err, tt.err)
		}
	}
	if err := vm.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := vm.Monitor("info block"); err == nil {
		t.Error("a machine that has ended answers")
	}
	log, err := os.ReadFile(filepath.Join(strings.Split(os.Getenv("PATH"), ":")[0], AMD64.qemu()) + ".log")
	if err != nil || !strings.HasPrefix(string(log), `{"execute":"qmp_capabilities"}`+"\n"+`{"execute":"human-monitor-command","arguments":{"command-line":"info block"}}`) {
		t.Errorf("QEMU was told %s, %v", log, err)
	}
}

func TestNBDThatEnds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nbdkit"), []byte("#!/bin/sh\necho no such image; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if _, err := ServeNBD(t.Context(), "/i"); err == nil || !strings.Contains(err.Error(), "no such image") {
		t.Errorf("ServeNBD = %v", err)
	}
}

package test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// netFault is a fault between a machine and an SSH server, or of the server. The second
// target is /var/crash.
type netFault struct {
	name string
	// line carries the bytes of one connection, the nth from 1. It returns when the
	// connection is to be closed.
	line func(nth int, client, server net.Conn)
	conf string // further lines of ukdump.conf
	// hostKey replaces the server's key in known_hosts.
	hostKey bool
	// served and local say where a complete dump must be.
	served, local bool
	ci            bool
	// want is in one of the errors of the report, here or at the server; "" for any.
	want string
}

// forward copies both directions until limit bytes have gone to the server.
func forward(client, server net.Conn, limit int64) {
	done := make(chan bool, 2)
	go func() { io.Copy(client, server); done <- true }()
	go func() { io.CopyN(server, client, limit); done <- true }()
	<-done
}

const unlimited = 1 << 62

// Enough for a log and the head of a vmcore.
const someBytes = 4 << 20

var netFaults = []netFault{
	{name: "cut-once", served: true, ci: true, line: func(nth int, client, server net.Conn) {
		limit := int64(unlimited)
		if nth == 6 { // after verify and the small files
			limit = someBytes
		}
		forward(client, server, limit)
	}},
	{name: "gone-in-the-middle", local: true, line: goneAfter(someBytes)},
	{name: "silent-in-the-middle", local: true, conf: "TIMEOUT=10min\n", line: func(nth int, client, server net.Conn) {
		forward(client, server, someBytes)
		time.Sleep(time.Hour)
	}},
	{name: "endless-banner", local: true, line: func(nth int, client, server net.Conn) {
		for {
			if _, err := client.Write([]byte(strings.Repeat("x", 1000) + "\r\n")); err != nil {
				return
			}
		}
	}},
	{name: "garbage", local: true, line: func(nth int, client, server net.Conn) {
		client.Write([]byte("SSH-2.0-x\r\n"))
		io.CopyN(client, rand.Reader, 1<<20)
	}},
	{name: "says-nothing", local: true, line: func(nth int, client, server net.Conn) { time.Sleep(time.Hour) }},
	{name: "host-key", local: true, hostKey: true, want: "host key", line: func(nth int, client, server net.Conn) { forward(client, server, unlimited) }},
	{name: "slow", local: true, conf: "TIMEOUT=8min\n", line: func(nth int, client, server net.Conn) {
		go io.Copy(client, server)
		for {
			if _, err := io.CopyN(server, client, 3<<10); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}},
}

// goneAfter cuts the first connection that has carried so many bytes, and all after it.
func goneAfter(limit int64) func(int, net.Conn, net.Conn) {
	var gone atomic.Bool
	return func(_ int, client, server net.Conn) {
		if gone.Load() {
			return
		}
		done := make(chan bool, 2)
		go func() { io.Copy(client, server); done <- true }()
		go func() {
			if n, _ := io.CopyN(server, client, limit); n == limit {
				gone.Store(true)
			}
			done <- true
		}()
		<-done
	}
}

// proxy listens on this machine and carries connections to another port by line.
func proxy(t *testing.T, to int, line func(nth int, client, server net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for nth := 1; ; nth++ {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
				if err != nil {
					return
				}
				defer server.Close()
				line(nth, client, server)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestNetworkFaults crashes machines whose server or line fails: the dump must be at the next
// target, the machine must come back, and nothing may be called complete that is not.
func TestNetworkFaults(t *testing.T) {
	set := vmSet(t)
	for _, f := range netFaults {
		t.Run(f.name, func(t *testing.T) {
			if set == "ci" && !f.ci {
				t.Skip("UKDUMP_VM=matrix or faults only")
			}
			chosen.Add(1)
			t.Parallel()
			f.crash(t)
		})
	}
}

func (f *netFault) crash(t *testing.T) {
	root, payload := lab(t, "bookworm")
	s := startSFTP(t, hostIPv4)
	// The machine knows the port of the proxy.
	var port int
	if _, err := fmt.Sscanf(s.target[strings.LastIndex(s.target, ":")+1:], "%d", &port); err != nil {
		t.Fatal(err)
	}
	between := proxy(t, port, f.line)
	old, now := fmt.Sprint(":", port), fmt.Sprint(":", between)
	s.target = strings.Replace(s.target, old, now, 1)
	for name, text := range s.files {
		s.files[name] = strings.Replace(text, old, now, 1)
	}
	if f.hostKey {
		_, other := sshKey(t)
		s.files["etc/ukdump/ssh/known_hosts"] = fmt.Sprintf("[%s]:%d %s\n", hostIPv4, between, other)
	}
	m, err := debian.New(t.Context(), "net-"+f.name, debian.Hardware{Root: root, Flavour: debian.Generic,
		NICs: []vmtest.NIC{{Model: "virtio-net-pci", MAC: "52:54:00:12:34:56", Backend: "user"}}})
	if err != nil {
		t.Fatal(err)
	}
	mark := "mark-" + rand.Text()
	for name, text := range s.files {
		payload = payload.With(name, text)
	}
	payload = payload.With("etc/ukdump.conf", fmt.Sprintf("TARGET=%q\n%s%s", s.target+" /var/crash", f.conf, readable)).
		With("ukdump-test/cell", fmt.Sprintf("mark=%s\nset_up='%s'\nverify=no\n", mark, addressings["static"].setUp))
	payload.Run = ". /ukdump-test/network\n"
	vm, err := m.Boot(t.Context(), debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Deadline: 2 * bootLimit,
		Cmdline: reservation + " panic=5 printk.devkmsg=on"})
	if err == nil {
		err = vm.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := checkCrashed(vm, mark); err != nil {
		t.Fatal(err)
	}
	payload.Run = ". /ukdump-test/encrypted-after\n"
	runMachine(t, m, debian.Boot{Name: "after", Init: debian.Quick, Payload: payload, Deadline: bootLimit, Cmdline: "panic=5"}, "results written")
	dir, err := m.Results()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.judge(s.dir, filepath.Join(dir, "var/crash"), mark, m.Dir); err != nil {
		t.Fatal(vm.Fail("%v", err))
	}
	if err := m.Remove(); err != nil {
		t.Error(err)
	}
}

// judge checks where the dumps are.
func (f *netFault) judge(served, local, mark, temp string) error {
	var wrong []error
	at, err := filepath.Glob(filepath.Join(served, "*", "*", crashdir.Vmcore))
	if err != nil || (len(at) > 0) != f.served {
		wrong = append(wrong, fmt.Errorf("a complete vmcore at the server: %q (%v)", at, err))
	}
	dumps, err := crashdir.List(local)
	if err != nil {
		return err
	}
	complete := false
	var texts []string
	for _, d := range dumps {
		complete = complete || d.Outcome == crashdir.Complete
		if d.Report != nil {
			texts = append(append(texts, d.Report.Errors...), d.Report.Warnings...)
			if d.At != "" && !f.served {
				wrong = append(wrong, fmt.Errorf("%s says that the dump is complete at %s", d.Name, d.At))
			}
		}
		if err := checkLog(filepath.Join(d.Path, crashdir.Dmesg), mark); err != nil {
			wrong = append(wrong, err)
		}
	}
	if complete != f.local {
		wrong = append(wrong, fmt.Errorf("a complete dump in /var/crash: %v; %d dumps; %q", complete, len(dumps), texts))
	}
	if len(dumps) != 1 {
		wrong = append(wrong, fmt.Errorf("%d dumps in /var/crash, not 1: %q", len(dumps), texts))
	}
	if f.served {
		r, err := filepath.Glob(filepath.Join(served, "*", "*", crashdir.Dmesg))
		if err != nil || len(r) != 1 {
			wrong = append(wrong, fmt.Errorf("%d logs at the server", len(r)))
		}
	}
	if f.want != "" && !strings.Contains(strings.Join(texts, "\n"), f.want) {
		wrong = append(wrong, fmt.Errorf("no error with %q: %q", f.want, texts))
	}
	return errors.Join(wrong...)
}

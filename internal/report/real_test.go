package report

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ukdump/internal/cli"
	"ukdump/internal/dump"
	"ukdump/internal/dump/dumptest"
)

// TestReal makes the reports of crashed machines: two CPUs, a crash by SysRq.
func TestReal(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			d, err := dump.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			r := Make(context.Background(), d, Options{})
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d MiB allocated\n%s", took, (after.TotalAlloc-before.TotalAlloc)>>20, text(t, r))
			verify(t, r, filepath.Dir(name))
		})
	}
}

// corrupt is memory of which some bytes are wrong.
type corrupt struct {
	memory
	random *rand.Rand
	rate   int // one read in so many is wrong
}

func (c *corrupt) ReadVirt(p []byte, addr uint64) error {
	err := c.memory.ReadVirt(p, addr)
	if err == nil && len(p) > 0 && c.random.IntN(c.rate) == 0 {
		p[c.random.IntN(len(p))] ^= 1 << c.random.IntN(8)
	}
	return err
}

// Memory with errors never leads to a panic, and to no report that has no end.
func TestCorrupt(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		d, err := dump.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for seed := range uint64(12) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			rate := []int{3, 30, 300, 3000}[seed%4]
			m := &maker{ctx: ctx, d: d, r: &Report{}, mem: &corrupt{memory{ctx, d}, rand.New(rand.NewPCG(seed, 1)), rate}}
			m.gather(Options{})
			cancel()
			text(t, m.r)
			if err := cli.WriteJSON(io.Discard, m.r); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSleeping describes the tasks that sleep as if they were blocked: real stacks and times.
func TestSleeping(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		d, err := dump.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		m := &maker{ctx: context.Background(), d: d, r: &Report{}, mem: memory{context.Background(), d}}
		m.gather(Options{})
		for i := range m.all {
			m.all[i].blocked = m.all[i].state == "S (sleeping)"
		}
		if err := m.blocked(); err != nil {
			t.Error(err)
		}
		last := math.Inf(1)
		for _, b := range m.r.Tasks.Blocked {
			if b.Stack == nil || len(b.Stack.Frames) == 0 || b.Waits != nil {
				t.Errorf("%s: %s: %+v", name, b.Comm, b)
			}
			if s := b.BlockedSeconds; s == nil || *s > last || *s < 0 {
				t.Errorf("%s: %s: blocked for %v s, the one before for %v", name, b.Comm, s, last)
			} else {
				last = *s
			}
		}
		if len(m.r.Tasks.Blocked) < 10 {
			t.Errorf("%s: %d tasks", name, len(m.r.Tasks.Blocked))
		}
	}
}

// verify compares a report with what is known of the machine. Dumps of 7.x lack pages of the
// kernel, which makedumpfile takes for pages of processes.
func verify(t *testing.T, r *Report, dir string) {
	t.Helper()
	for _, d := range r.Disks {
		if (d.Requests == nil) != strings.Contains(d.Note, "not known") {
			t.Errorf("disk %s: requests %v, note %q", d.Name, d.Requests, d.Note)
		}
	}
	if f := r.Fingerprint; f == nil || f.ID != "v1:5f40fb21704f7e64" || f.Kind != "sysrq triggered crash" || f.Source != SourceStack {
		t.Errorf("fingerprint %+v", r.Fingerprint)
	}
	if len(r.CPUs) != 2 || !r.CPUs[0].Panicked || r.CPUs[0].Stack == nil || !r.CPUs[0].Stack.Complete {
		t.Fatalf("CPUs %+v", r.CPUs)
	}
	var got []string
	for _, f := range r.CPUs[0].Stack.Frames {
		got = append(got, f.String())
	}
	if want := printed(t, filepath.Join(dir, "vmcore-dmesg.txt")); len(want) < 5 || !strings.HasSuffix(strings.Join(got, "\n"), strings.Join(want, "\n")) {
		t.Errorf("got %v, the kernel printed %v", got, want)
	}
	for _, p := range r.Problems {
		if !strings.Contains(p.Reason, "excluded by dump level 31") || !strings.HasPrefix(r.Kernel.Release, "7.") {
			t.Errorf("%s: %s", p.Part, p.Reason)
		}
	}
	if r.Tasks == nil || r.Tasks.Total < 40 {
		t.Errorf("tasks %+v", r.Tasks)
	}
	if m := r.Memory; m == nil || len(m.Slabs) != maxUsers || len(m.Zones) == 0 || len(m.Processes) == 0 {
		t.Errorf("memory %+v", m)
	}
	if len(r.Problems) > 0 {
		return
	}
	if !slices.Contains(r.Mounts, Mount{"/dev/vda1", "/", "ext4", false}) {
		t.Errorf("mounts %+v", r.Mounts)
	}
	if len(r.Disks) != 3 || r.Disks[0].Name != "vda" || r.Disks[0].Bytes != 3<<30 || r.Disks[0].Note != "" {
		t.Errorf("disks %+v", r.Disks)
	}
}

// traced is a reliable line of a call trace.
var traced = regexp.MustCompile(`^\[[ 0-9.]+\]  ([A-Za-z_][^ ?]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\S+\])?)$`)

// printed returns the functions of the last call trace in a log from the crash on.
func printed(t *testing.T, name string) (out []string) {
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "Call Trace:") {
			out = nil
		}
		if m := traced.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			out = append(out, m[1])
		}
	}
	i := slices.IndexFunc(out, func(s string) bool { return strings.HasPrefix(s, "sysrq_handle_crash+") })
	return out[max(i, 0):]
}

// TestRequests reads the requests that the disk has answered already, which are still in its
// table: they are plausible.
func TestRequests(t *testing.T) {
	for _, name := range dumptest.Real(t) {
		d, err := dump.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		m := &maker{ctx: context.Background(), d: d, r: &Report{}, mem: memory{context.Background(), d}}
		m.gather(Options{})
		if strings.HasPrefix(m.r.Kernel.Release, "7.") {
			continue // without the pages of the table
		}
		now := m.monotonic()
		if now < m.uptime || now > m.uptime+1e9 {
			t.Errorf("%s: the clock has %d, the log %d", name, now, m.uptime)
		}
		queue := m.queueOf(t, "vda")
		tags, err := m.k.Pointer(m.field(m.field(queue, "request_queue", "tag_set"), "blk_mq_tag_set", "tags"))
		if err != nil {
			t.Fatal(err)
		}
		n, table := m.field(tags, "blk_mq_tags", "nr_tags"), m.field(tags, "blk_mq_tags", "rqs")
		found := 0
		for tag := range n {
			rq, err := m.k.Pointer(table + 8*tag)
			if err != nil || rq == 0 || m.field(rq, "request", "tag") != tag {
				continue
			}
			found++
			q := m.request(rq, int(tag), now)
			if q.Op != "read" && q.Op != "write" || q.Sector == nil || *q.Sector > 3<<30/512 || age(q) <= 0 || age(q) > float64(now)/1e9 {
				t.Errorf("%s: %s", name, q)
			}
		}
		if found == 0 {
			t.Errorf("%s: no request", name)
		}
	}
}

// queueOf returns the queue of a disk.
func (m *maker) queueOf(t *testing.T, disk string) uint64 {
	sb, err := m.number("blockdev_superblock", 8)
	if err != nil {
		t.Fatal(err)
	}
	head, _ := m.types.Offset("super_block", "s_inodes")
	inode, _ := m.types.Offset("bdev_inode", "vfs_inode")
	list, _ := m.k.List(sb+head, "inode", "i_sb_list", maxInodes)
	for _, at := range list {
		gendisk := m.field(at-inode, "block_device", "bd_disk")
		if name, _ := m.k.TextField(gendisk, "gendisk", "disk_name"); name == disk {
			return m.field(gendisk, "gendisk", "queue")
		}
	}
	t.Fatalf("no disk %s", disk)
	return 0
}

// TestFlattened compares the report of a dump with that of its copy by makedumpfile -F. It knows
// kernels below 6.4 here.
func TestFlattened(t *testing.T) {
	program, err := exec.LookPath("makedumpfile")
	if err != nil {
		t.Skip(err)
	}
	for _, name := range dumptest.Real(t) {
		flat := filepath.Join(t.TempDir(), "flat")
		f, err := os.Create(flat)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "-F", "-l", "-d", "31", name)
		cmd.Stdout = f
		err = cmd.Run()
		f.Close()
		if err != nil {
			t.Logf("%s: makedumpfile: %v", name, err)
			continue
		}
		var texts []string
		for _, file := range []string{name, flat} {
			d, err := dump.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			texts = append(texts, text(t, Make(context.Background(), d, Options{})))
		}
		if texts[0] != texts[1] {
			t.Errorf("%s: got\n%s\nwant\n%s", name, texts[1], texts[0])
		}
	}
}

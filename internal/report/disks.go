package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxInodes   = 1 << 16 // block devices, also partitions
	maxDisks    = 1000    // disks in a report
	maxRequests = 50      // requests of a disk in a report
	maxQueues   = 1 << 13 // hardware queues, at most one for each CPU
	maxTags     = 1 << 16 // BLK_MQ_MAX_DEPTH is 10240
	maxFlying   = 1 << 16 // requests of a disk that are read
)

// disks reads the block devices that are whole disks, and their requests in flight. All block
// devices have an inode of one super block: block/bdev.c, since 5.11.
func (m *maker) disks() error {
	sb, err := m.number("blockdev_superblock", 8)
	if err != nil {
		return err
	}
	head, err := m.types.Offset("super_block", "s_inodes")
	if err != nil {
		return err
	}
	inode, err := m.types.Offset("bdev_inode", "vfs_inode")
	if err != nil {
		return err
	}
	inodes, failed := m.k.List(sb+head, "inode", "i_sb_list", maxInodes)
	now := m.monotonic()
	list := []Disk{}
	for _, at := range inodes {
		bdev := at - inode // its first member
		disk, err := m.k.Value(bdev, "block_device", "bd_disk")
		if err != nil {
			failed = err
			continue
		}
		if disk == 0 || m.field(disk, "gendisk", "part0") != bdev {
			continue
		}
		d, err := m.disk(disk, bdev, now)
		if err != nil {
			failed = err
			continue
		}
		if d.Bytes == 0 && len(d.Requests) == 0 && d.Note == "" { // loop devices without a file
			continue
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Disk) int { return strings.Compare(a.Name, b.Name) })
	if n := len(list); n > maxDisks {
		list, failed = list[:maxDisks], fmt.Errorf("there are %d", n)
	}
	return keep(&m.r.Disks, list, failed)
}

// disk reads a disk.
func (m *maker) disk(at, bdev, now uint64) (d Disk, err error) {
	const sector = 512
	if d.Name, err = m.k.TextField(at, "gendisk", "disk_name"); err != nil {
		return d, err
	}
	n, err := m.k.Value(bdev, "block_device", "bd_nr_sectors")
	if err != nil {
		return d, err
	}
	d.Bytes = min(n, 1<<54) * sector
	if d.ReadOnly = m.readOnly(bdev); d.Bytes == 0 {
		d.ReadOnly = false
	}
	counted, counters := m.inFlight(bdev)
	queue, set := uint64(0), uint64(0)
	if queue, err = m.k.Value(at, "gendisk", "queue"); err == nil {
		set, err = m.k.Value(queue, "request_queue", "tag_set")
	}
	if err != nil {
		d.Note = "requests are not known: " + err.Error()
		return d, nil
	}
	if set == 0 { // a driver of bios, such as that of device-mapper
		switch {
		case counters != nil:
			d.Note = "requests are not known: " + counters.Error()
		case counted == 0:
			d.Requests = []Request{}
		default:
			d.Note = plural(counted, "request", "requests") + " in flight by its counters, without a list of them"
		}
		return d, nil
	}
	all, err := m.requests(queue, set, now)
	if err != nil {
		d.Note = "requests are not known: " + err.Error()
		return d, nil
	}
	slices.SortStableFunc(all, func(a, b Request) int { return cmp.Compare(age(b), age(a)) })
	d.Requests = append([]Request{}, all[:min(len(all), maxRequests)]...)
	d.Omitted = len(all) - len(d.Requests)
	if waiting := counted - len(all); counters == nil && waiting > 0 {
		d.Note = plural(waiting, "more request", "more requests") + " by its counters: not given to the driver yet"
	}
	return d, nil
}

// readOnly reports whether a block device is read-only: include/linux/blk_types.h.
func (m *maker) readOnly(bdev uint64) bool {
	if m.types.HasField("block_device", "bd_read_only") { // before 6.10
		return m.field(bdev, "block_device", "bd_read_only") != 0
	}
	const flag = 1 << 8 // BD_READ_ONLY
	return m.field(bdev, "block_device", "__bd_flags.counter")&flag != 0
}

// age returns the age of a request in seconds, -1 if it is not known.
func age(q Request) float64 {
	if q.AgeSeconds == nil {
		return -1
	}
	return *q.AgeSeconds
}

// inFlight returns the number of requests in flight by the counters of all CPUs.
func (m *maker) inFlight(bdev uint64) (int, error) {
	stats, err := m.k.Value(bdev, "block_device", "bd_stats")
	if err != nil {
		return 0, err
	}
	off, err := m.types.Offset("disk_stats", "in_flight")
	if err != nil {
		return 0, err
	}
	cpus, err := m.k.CPUs()
	if err != nil {
		return 0, err
	}
	var sum uint64
	for cpu := range min(cpus, maxCPUs) {
		at, err := m.k.PerCPUAddr(stats, cpu)
		if err != nil {
			return 0, err
		}
		for i := range uint64(2) { // reads and writes
			n, err := m.k.U64(at + off + 8*i)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return int(min(max(int64(sum), 0), 1<<31)), nil
}

// requests returns the requests of a queue that its driver has: those that the tags of the
// hardware queues point at and that are started. include/linux/blk-mq.h.
func (m *maker) requests(queue, set, now uint64) ([]Request, error) {
	flying, err := m.types.Enum("mq_rq_state", "MQ_RQ_IN_FLIGHT")
	if err != nil {
		return nil, err
	}
	queues, err := m.k.Value(set, "blk_mq_tag_set", "nr_hw_queues")
	if err != nil {
		return nil, err
	}
	table, err := m.k.Value(set, "blk_mq_tag_set", "tags")
	if err != nil {
		return nil, err
	}
	out := []Request{}
	seen := make(map[uint64]bool) // hardware queues can share tags
	for i := range min(queues, maxQueues) {
		tags, err := m.k.Pointer(table + 8*i)
		if err != nil {
			return out, err
		}
		if tags == 0 || seen[tags] {
			continue
		}
		seen[tags] = true
		n, err := m.k.Value(tags, "blk_mq_tags", "nr_tags")
		if err != nil {
			return out, err
		}
		rqs, err := m.k.Value(tags, "blk_mq_tags", "rqs")
		if err != nil {
			return out, err
		}
		for tag := range min(n, maxTags) {
			rq, err := m.k.Pointer(rqs + 8*tag)
			if err != nil {
				return out, err
			}
			if rq == 0 {
				continue
			}
			if q, err := m.k.Value(rq, "request", "q"); err != nil {
				return out, err
			} else if q != queue || m.field(rq, "request", "tag") != tag {
				continue
			}
			state, err := m.k.Value(rq, "request", "state")
			if err != nil {
				return out, err
			}
			if len(out) >= maxFlying {
				return out, fmt.Errorf("there are more than %d", maxFlying)
			}
			if state == uint64(flying) {
				out = append(out, m.request(rq, int(tag), now))
			}
		}
	}
	return out, nil
}

// request reads a request.
func (m *maker) request(rq uint64, tag int, now uint64) Request {
	ops := map[uint64]string{0: "read", 1: "write", 2: "flush", 3: "discard", 5: "secure erase", 9: "write zeroes"}
	op := m.field(rq, "request", "cmd_flags") & 0xff // enum req_op, include/linux/blk_types.h
	q := Request{Op: ops[op], Bytes: m.field(rq, "request", "__data_len"), Tag: tag}
	if q.Op == "" {
		q.Op = fmt.Sprintf("operation %d", op)
	}
	if sector, err := m.k.Value(rq, "request", "__sector"); err == nil && int64(sector) >= 0 && op != 2 {
		q.Sector = &sector
	}
	// Passthrough requests, and all requests of queues without statistics, have no time.
	if start := m.field(rq, "request", "start_time_ns"); start != 0 && start <= now {
		s := float64(now-start) / 1e9
		q.AgeSeconds = &s
	}
	return q
}

// monotonic returns CLOCK_MONOTONIC at the last tick before the crash, in nanoseconds, 0 if it is
// not known: struct timekeeper behind a sequence counter, kernel/time/timekeeping.c. Before 6.13
// the structure around it has no name, so the value must agree with the time of the log.
func (m *maker) monotonic() uint64 {
	at, err := m.k.Lookup("tk_core")
	if err != nil {
		if at, err = m.k.Lookup("timekeeper_data"); err != nil { // since 6.18
			return 0
		}
	}
	off, err := m.types.Offset("tk_data", "timekeeper")
	if err != nil {
		off = 8
	}
	base, err := m.k.Value(at+off, "timekeeper", "tkr_mono.base")
	if err != nil {
		return 0
	}
	shift := m.field(at+off, "timekeeper", "tkr_mono.shift")
	base += m.field(at+off, "timekeeper", "tkr_mono.xtime_nsec") >> min(shift, 63)
	const near = 30e9
	if base > m.uptime+near || m.uptime > base+near {
		m.problem("ages of requests", errors.New("the clock of the kernel contradicts its log"))
		return 0
	}
	return base
}

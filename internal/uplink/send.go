package uplink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/capture"
	"ukdump/internal/crashdir"
	"ukdump/internal/netplan"
	"ukdump/internal/remote"
	"ukdump/internal/seal"
	"ukdump/internal/streamcheck"
)

// maxFile bounds a log or a report, which is kept in memory until the server has it, so
// that it can be sent again.
const maxFile = 4 << 20

// randomLimit is how long to wait for random numbers without a seed.
const randomLimit = 60 * time.Second

// Send is capture.RoleSend. Its arguments are the target, the directory of the dump at the
// server, "" before there is one, and the operation: create, ping, put NAME, stream.
func Send(args []string) int {
	return run(args, 3, func(args []string) error {
		j, err := open(args[0])
		if err != nil {
			return err
		}
		m := &meter{}
		// A login and a directory are silent and short; the store has limits for both.
		stop := every(time.Second, m.beat)
		store, err := remote.Open(j.server, j.root, remote.Options{
			Progress: m.set,
			Stall:    time.Duration(j.plan.Deadlines.Stall) * time.Second,
			Built:    j.built(),
			MaxPart:  partLimit(),
		})
		stop()
		if err != nil {
			return err
		}
		defer store.Close()
		dir := args[1]
		switch op := args[2]; {
		case op == "ping":
			return nil
		case op == "create":
			return create(store, j)
		case op == "put" && len(args) > 3:
			return j.put(store, dir, args[3])
		case op == "stream":
			return j.stream(store, dir, m)
		default:
			return fmt.Errorf("unknown operation %q", op)
		}
	})
}

// Limits of one part of an upload to S3, which is in memory until the server has it.
const (
	leastPart = 8 << 20
	mostPart  = 64 << 20
)

// partLimit lets a part have a quarter of the memory that is available now, and Go's heap
// as much more.
func partLimit() int64 {
	part := min(max(available()/4, leastPart), mostPart)
	debug.SetMemoryLimit(part + part/2 + 16<<20)
	return part
}

// available returns MemAvailable in bytes, see proc_meminfo(5); 0 if it is not known.
func available() int64 {
	b, _ := os.ReadFile("/proc/meminfo")
	_, rest, _ := strings.Cut(string(b), "MemAvailable:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10
}

// built returns the time that the clock is not before.
func (j *job) built() time.Time {
	if j.remote.Built == 0 {
		return time.Time{}
	}
	return time.Unix(j.remote.Built, 0)
}

func create(store remote.Store, j *job) error {
	dir, err := store.Create(netplan.MachineDir(j.plan.Host.Name, j.plan.Host.MachineID), time.Now())
	if err != nil {
		return err
	}
	say(capture.SayDir, "%s", dir)
	return nil
}

// put sends a small file. Part of one is worth sending only if it is a log.
func (j *job) put(store remote.Store, dir, name string) error {
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxFile))
	if err != nil {
		return err
	}
	if n, _ := io.Copy(io.Discard, os.Stdin); n > 0 {
		warn("%s: its last %d bytes are left out", name, n)
	}
	if err := committed(); err != nil && name != crashdir.Dmesg {
		return err
	}
	// The worker has taken from report.json all that is secret; all of it is in
	// report.json.age.
	if !j.remote.EncryptReport || name == crashdir.ReportFile {
		return store.Put(dir, name, newReader(data))
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(j.seal(w, newReader(data))) }()
	sealed, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return store.Put(dir, strings.TrimSuffix(name, crashdir.Sealed)+crashdir.Sealed, newReader(sealed))
}

// seal encrypts all of r.
func (j *job) seal(w io.Writer, r io.Reader) error {
	s, err := j.sealer(w)
	if err != nil {
		return err
	}
	if _, err := io.Copy(s, r); err != nil {
		return err
	}
	return s.Close()
}

// sealer returns a writer that encrypts to the recipients of the plan.
func (j *job) sealer(w io.Writer) (io.WriteCloser, error) {
	var list []seal.Recipient
	for _, r := range j.remote.Recipients {
		p, err := seal.ParseRecipient(r)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	seed, err := fs.ReadFile(j.root, netplan.SeedFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	random, err := seal.NewRand(seed, randomLimit)
	if err != nil {
		return nil, err
	}
	return seal.NewWriter(w, random, list...)
}

// stream sends the vmcore: a flattened dump on standard input, which is verified while it
// passes. It gets its name only after the worker has said that the collector ended well.
func (j *job) stream(store remote.Store, dir string, m *meter) error {
	mem, err := memory()
	if err != nil {
		return err
	}
	check := streamcheck.New(mem)
	in := io.Reader(io.TeeReader(os.Stdin, check))
	name := crashdir.Vmcore
	if len(j.remote.Recipients) > 0 {
		name += crashdir.Sealed
		in = j.sealed(in, check)
	}
	result, err := store.Stream(dir, name, in)
	if err != nil {
		return err
	}
	sum, err := check.Close()
	if err != nil {
		store.Abort(dir)
		return err
	}
	m.set(result.Size)
	m.end()
	say(capture.SayStreamed, "%x", sum.SHA256)
	if err := committed(); err != nil {
		store.Abort(dir)
		return err
	}
	stop := every(time.Second, m.beat)
	defer stop()
	if err := store.Commit(dir, mem, m.beat); err != nil {
		return err
	}
	m.end()
	say(capture.SayLog, "%s: %d bytes at the server", result.Name, result.Size)
	return nil
}

// sealed returns a reader of what in encrypts to. The file ends properly only if the
// stream was a whole dump.
func (j *job) sealed(in io.Reader, check *streamcheck.Checker) io.Reader {
	r, w := io.Pipe()
	go func() {
		s, err := j.sealer(w)
		if err == nil {
			_, err = io.Copy(s, in)
		}
		if err == nil {
			err = check.Err()
		}
		if err == nil {
			err = s.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

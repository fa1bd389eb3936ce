package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
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
// server, "" before there is one, and the operation: create, ping, put NAME, stream or
// stream again.
func Send(args []string) int {
	return run(args, 3, func(args []string) error {
		j, err := open(args[0])
		if err != nil {
			return err
		}
		m := &meter{}
		// A login and a directory are silent and short; the store has limits for both.
		stop := every(time.Second, m.beat)
		store, err := openStore(j.server, root, remote.Options{
			Progress: m.set,
			Stall:    capture.ServerStall(j.plan, args[0]),
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
			if len(args) > 3 { // after one that broke off
				store.Abort(dir)
			}
			return j.stream(store, dir, m)
		default:
			return fmt.Errorf("unknown operation %q", op)
		}
	})
}

// mostPart bounds one part of an upload to S3, which is in memory until the server has it.
const mostPart = 64 << 20

// partLimit lets a part have a quarter of the memory that is available now, and limits
// Go's memory.
func partLimit() int64 {
	part, limit := partOf(capture.MemAvailable())
	debug.SetMemoryLimit(limit)
	return part
}

// partOf returns the size of a part and the limit of Go's memory with so many bytes
// available. Half of them are for the collector, which starts later; with less than 8 MiB
// beside the part nothing would be left but to collect garbage.
func partOf(available int64) (part, limit int64) {
	part = min(max(available/4, netplan.LeastPart), mostPart)
	return part, min(part+part/2+16<<20, max(available/2, part+8<<20))
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
	data, cut, err := readTail(stdin, maxFile)
	if err != nil {
		return err
	}
	if cut > 0 { // the end of a log has the panic
		warn("%s: omitting its first %d bytes", name, cut)
	}
	err = committed()
	if err != nil && name != crashdir.Dmesg {
		return err
	}
	// The worker has taken from report.json all that is secret; all of it is in
	// report.json.age.
	if j.remote.EncryptReport && name != crashdir.ReportFile {
		name = strings.TrimSuffix(name, crashdir.Sealed) + crashdir.Sealed
		var sealed bytes.Buffer
		if err := j.seal(&sealed, bytes.NewReader(data)); err != nil {
			return err
		}
		data = sealed.Bytes()
	}
	if err != nil {
		name += crashdir.Suffix
	}
	return store.Put(dir, name, bytes.NewReader(data))
}

// readTail reads all of r and returns its last bytes, at most limit, and how many came before.
func readTail(r io.Reader, limit int) (data []byte, cut int64, err error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if data = append(data, buf[:n]...); len(data) > 2*limit {
			drop := len(data) - limit
			cut += int64(drop)
			data = data[:copy(data, data[drop:])]
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, err
		}
	}
	if drop := len(data) - limit; drop > 0 {
		cut += int64(drop)
		data = data[drop:]
	}
	return data, cut, nil
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
	start, err := j.prepareSeal()
	if err != nil {
		return nil, err
	}
	return start(w)
}

// prepareSeal does all for an encryption but to write its header.
func (j *job) prepareSeal() (start func(w io.Writer) (io.WriteCloser, error), err error) {
	var list []seal.Recipient
	for _, r := range j.remote.Recipients {
		p, err := seal.ParseRecipient(r)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	random, err := randomNumbers()
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) (io.WriteCloser, error) { return seal.NewWriter(w, random, list...) }, nil
}

// randomNumbers returns a source that the seed of the image is in, if that has one.
func randomNumbers() (io.Reader, error) {
	seed, err := fs.ReadFile(root, netplan.SeedFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return seal.NewRand(seed, randomLimit)
}

// stream sends the vmcore: a flattened dump on standard input, which is verified while it
// passes. The file ends and gets its name only after the worker has said that the collector
// ended well.
func (j *job) stream(store remote.Store, dir string, m *meter) error {
	mem, err := memory()
	if err != nil {
		return err
	}
	g := &gate{r: stdin, check: streamcheck.New(mem)}
	in, name := io.Reader(g), crashdir.Vmcore
	if len(j.remote.Recipients) > 0 {
		sealed, err := j.sealed(g)
		if err != nil {
			return err
		}
		defer sealed.Close()
		in, name = sealed, name+crashdir.Sealed
	}
	result, err := store.Stream(dir, name, in)
	if err == nil {
		// SFTP stops at the end mark, which is not the end of the stream.
		_, err = io.Copy(io.Discard, g)
	}
	if over, gerr := g.ended(); over && gerr != io.EOF {
		err = gerr // the reason of the other
	}
	if err != nil {
		if !broken(err) {
			store.Abort(dir)
		}
		return err
	}
	m.set(result.Size)
	stop := every(time.Second, m.beat)
	err = store.Commit(dir, mem, m.beat)
	stop()
	if err != nil {
		return err
	}
	m.end()
	say(capture.SayLog, "%s: %d bytes at the server", result.Name, result.Size)
	return nil
}

// sealed returns a reader of what g encrypts to. It ends only if g does.
func (j *job) sealed(g *gate) (*io.PipeReader, error) {
	start, err := j.prepareSeal()
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		s, err := start(w)
		if err == nil {
			_, err = io.Copy(s, g)
		}
		if err == nil {
			err = s.Close()
		}
		w.CloseWithError(err)
	}()
	return r, nil
}

package uplink

import (
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"ukdump/internal/capture"
	"ukdump/internal/streamcheck"
)

// Seal is capture.RoleSeal: it encrypts standard input to descriptor 4 for the recipients of
// the plan. Its argument is "stream" for a flattened dump, which is verified while it
// passes, or "file" for any other content. After a stream it waits until the worker has
// said that the collector ended well: then the file ends properly.
func Seal(args []string) int {
	return run(args, 1, func(args []string) error {
		j, err := open("")
		if err != nil {
			return err
		}
		m := &meter{}
		out := &counter{w: sink(), m: m}
		switch args[0] {
		case "file":
			if err := j.seal(out, stdin); err != nil {
				return err
			}
			return committed()
		case "stream":
			return j.sealStream(out, m)
		}
		return fmt.Errorf("unknown operation %q", args[0])
	})
}

func (j *job) sealStream(out *counter, m *meter) error {
	mem, err := memory()
	if err != nil {
		return err
	}
	g := &gate{r: stdin, check: streamcheck.New(mem)}
	s, err := j.sealer(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(s, g); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	m.end()
	say(capture.SayCRC, "%d", out.crc)
	say(capture.SayLog, "encrypted %d bytes for %s", g.check.Size(), recipients(len(j.remote.Recipients)))
	return nil
}

// gate is a flattened dump that ends only if it is whole and the collector ended well. What
// reads it, an encryption or a request to a server, gets an error in place of the end
// otherwise, and so its own end is missing, too.
type gate struct {
	r     io.Reader
	check *streamcheck.Checker

	mu   sync.Mutex
	over bool
	err  error // after the end
}

// Read implements io.Reader.
func (g *gate) Read(p []byte) (int, error) {
	if over, err := g.ended(); over {
		return 0, err
	}
	n, err := g.r.Read(p)
	g.check.Write(p[:n])
	if n > 0 || err == nil {
		return n, nil
	}
	if err == io.EOF {
		err = g.end()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over, g.err = true, err
	return 0, err
}

// end verifies the dump and waits for the collector. It returns io.EOF if all is well.
func (g *gate) end() error {
	sum, err := g.check.Close()
	if err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	say(capture.SayStreamed, "%x", sum.SHA256)
	if err := committed(); err != nil {
		return err
	}
	return io.EOF
}

// ended returns the error of the dump, io.EOF for none, if it has ended.
func (g *gate) ended() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over, g.err
}

func recipients(n int) string {
	if n == 1 {
		return "one recipient"
	}
	return fmt.Sprintf("%d recipients", n)
}

// counter counts the bytes that were written and adds them to a CRC-32C.
type counter struct {
	w   io.Writer
	m   *meter
	crc uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.m.add(int64(n))
	c.crc = crc32.Update(c.crc, castagnoli, p[:n])
	return n, err
}

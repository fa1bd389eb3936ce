package uplink

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"

	"ukdump/internal/capture"
	"ukdump/internal/streamcheck"
)

// newReader returns a reader that can be read again.
func newReader(b []byte) *bytes.Reader { return bytes.NewReader(b) }

// sinkFD is the descriptor to which Seal writes.
const sinkFD = 4

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
		sink := os.NewFile(sinkFD, "sink")
		out := &counter{w: sink, m: m}
		if args[0] == "file" {
			if err := j.seal(out, os.Stdin); err != nil {
				return err
			}
			return committed()
		}
		return j.sealStream(out, m)
	})
}

func (j *job) sealStream(out *counter, m *meter) error {
	mem, err := memory()
	if err != nil {
		return err
	}
	check := streamcheck.New(mem)
	s, err := j.sealer(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(s, io.TeeReader(os.Stdin, check)); err != nil {
		return err
	}
	sum, err := check.Close()
	if err != nil {
		return err
	}
	say(capture.SayStreamed, "%x", sum.SHA256)
	if err := committed(); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	m.end()
	say(capture.SayCRC, "%d", out.crc)
	say(capture.SayLog, "encrypted %s bytes for %s", strconv.FormatInt(sum.Size, 10), recipients(len(j.remote.Recipients)))
	return nil
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

package xzstream

import (
	"bufio"
	"errors"
	"io"
)

var errPadding = errors.New("bad xz padding")

// input is the packed data. It takes no byte from r before it is needed.
type input struct {
	r   *bufio.Reader
	n   int64 // bytes taken
	end error // of r
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.n += int64(n)
	if err != nil {
		in.end = err
	}
	return n, err
}

func (in *input) ReadByte() (byte, error) {
	b, err := in.r.ReadByte()
	if err != nil {
		in.end = err
		return 0, err
	}
	in.n++
	return b, nil
}

func (in *input) full(p []byte) error {
	_, err := io.ReadFull(in, p)
	return truncated(err)
}

func (in *input) zeros(n int64) error {
	for range n {
		b, err := in.ReadByte()
		if err != nil {
			return truncated(err)
		}
		if b != 0 {
			return errPadding
		}
	}
	return nil
}

// explain corrects the error of the LZMA2 decoder, which reports the end of a
// chunk as that of the file.
func (in *input) explain(err error) error {
	if err == io.ErrUnexpectedEOF && in.end == nil {
		return errors.New("LZMA2 data are damaged")
	}
	return err
}

func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// padding returns how many bytes lead from n to a multiple of four.
func padding(n int64) int64 { return -n & 3 }

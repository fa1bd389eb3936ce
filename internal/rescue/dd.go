package rescue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxBlock is the largest block of dd, in bytes: memory is scarce.
const maxBlock = 4 << 20

// dd copies blocks. It does not truncate the output if it seeks, and syncs it.
func dd(c *call) error {
	names := map[string]string{}
	numbers := map[string]int64{"bs": 512, "count": -1, "skip": 0, "seek": 0}
	for _, arg := range c.args {
		key, val, _ := strings.Cut(arg, "=")
		if key == "if" || key == "of" {
			names[key] = val
			continue
		}
		n, err := parseCount(val)
		if _, known := numbers[key]; !known || err != nil {
			return usage("dd if=FILE of=FILE [bs=N] [count=N] [skip=N] [seek=N], with numbers such as 512, 4K or 1M")
		}
		numbers[key] = n
	}
	bs := numbers["bs"]
	if names["if"] == "" || names["of"] == "" || bs < 1 || bs > maxBlock {
		return usage("dd if=FILE of=FILE, with bs= from 1 to 4M")
	}
	in, err := os.Open(c.path(names["if"]))
	if err != nil {
		return err
	}
	defer in.Close()
	flags := os.O_WRONLY | os.O_CREATE
	if numbers["seek"] == 0 {
		flags |= os.O_TRUNC
	}
	out, err := os.OpenFile(c.path(names["of"]), flags, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := out.Seek(numbers["seek"]*bs, io.SeekStart); err != nil {
		return err
	}
	n, err := c.copyBlocks(out, in, numbers["skip"]*bs, bs, numbers["count"])
	fmt.Fprintf(c.errors, "%d bytes copied\n", n)
	if err != nil {
		return err
	}
	return c.syncFile(out)
}

// copyBlocks copies count blocks of bs bytes from offset at, or all if count is -1.
func (c *call) copyBlocks(out io.Writer, in io.ReaderAt, at, bs, count int64) (copied int64, err error) {
	buf := make([]byte, bs)
	for ; count != 0; count-- {
		if err := c.ctx.Err(); err != nil {
			return copied, err
		}
		n, err := in.ReadAt(buf, at)
		if _, werr := out.Write(buf[:n]); werr != nil {
			return copied, werr
		}
		at += int64(n)
		copied += int64(n)
		if err == io.EOF {
			return copied, nil
		}
		if err != nil {
			return copied, err
		}
	}
	return copied, nil
}

// parseCount reads 512, 4K, 1M or 2G.
func parseCount(s string) (int64, error) {
	shift := 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMG", s[n-1]); i >= 0 {
			s, shift = s[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<50>>shift {
		return 0, errors.New("not a number")
	}
	return n << shift, nil
}

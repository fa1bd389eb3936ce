package rescue

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// maxText is the longest line that grep, head and tail read, in bytes.
const maxText = 1 << 20

// eachFile calls f for each file, or for the input if there is none.
func (c *call) eachFile(files []string, f func(name string, r io.Reader) error) error {
	if len(files) == 0 {
		return f("", c.in)
	}
	var errs error
	for _, name := range files {
		file, err := os.Open(c.path(name))
		if err == nil {
			err = f(name, file)
			file.Close()
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// eachLine calls f for each line until it returns false.
func (c *call) eachLine(r io.Reader, f func(line string) bool) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxText)
	for sc.Scan() {
		if c.ctx.Err() != nil || !f(sc.Text()) {
			return c.ctx.Err()
		}
	}
	return sc.Err()
}

func grep(c *call) error {
	args, invert, prefix := c.args, false, ""
	for ; len(args) > 0 && (args[0] == "-i" || args[0] == "-v"); args = args[1:] {
		if args[0] == "-v" {
			invert = true
		} else {
			prefix = "(?i)"
		}
	}
	if len(args) == 0 {
		return usage("grep [-i] [-v] REGEXP [FILE]...")
	}
	re, err := regexp.Compile(prefix + args[0])
	if err != nil {
		return err
	}
	found := false
	err = c.eachFile(args[1:], func(name string, r io.Reader) error {
		if len(args) <= 2 {
			name = ""
		} else {
			name += ":"
		}
		return c.eachLine(r, func(line string) bool {
			if re.MatchString(line) != invert {
				found = true
				fmt.Fprintln(c.out, name+line)
			}
			return true
		})
	})
	if err == nil && !found {
		return errSilent
	}
	return err
}

// lineCount reads the options of head and tail.
func (c *call) lineCount() (n int, files []string, err error) {
	n, files = 10, c.args
	text := ""
	switch {
	case len(files) > 1 && files[0] == "-n":
		text, files = files[1], files[2:]
	case len(files) > 0 && len(files[0]) > 1 && files[0][0] == '-':
		text, files = strings.TrimPrefix(files[0][1:], "n"), files[1:]
	default:
		return n, files, nil
	}
	if n, err = strconv.Atoi(text); err != nil || n < 0 || n > 1<<20 {
		return 0, nil, fmt.Errorf("%q is not a number of lines", text)
	}
	return n, files, nil
}

func head(c *call) error {
	n, files, err := c.lineCount()
	if err != nil {
		return err
	}
	return c.eachFile(files, func(_ string, r io.Reader) error {
		left := n
		if left == 0 {
			return nil
		}
		return c.eachLine(r, func(line string) bool {
			fmt.Fprintln(c.out, line)
			left--
			return left > 0
		})
	})
}

func tailCommand(c *call) error {
	n, files, err := c.lineCount()
	if err != nil {
		return err
	}
	return c.eachFile(files, func(_ string, r io.Reader) error {
		var last []string
		err := c.eachLine(r, func(line string) bool {
			if last = append(last, line); len(last) > n {
				last = last[1:]
			}
			return true
		})
		for _, line := range last {
			fmt.Fprintln(c.out, line)
		}
		return err
	})
}

package ctl

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"ukdump/internal/cli"
)

// pipeWidth is the width of a list that does not go to a terminal.
const pipeWidth = 120

// terminalWidth returns how many characters a line on the terminal has, 0 if Stdout is
// none.
func (c *ctl) terminalWidth() int {
	if c.columns > 0 {
		return c.columns
	}
	f, ok := c.Stdout.(*os.File)
	if !ok {
		return 0
	}
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 {
		return 0
	}
	return max(int(ws.Col), 40)
}

// rows are names with texts, for people.
type rows [][2]string

func (r *rows) add(name, format string, a ...any) {
	*r = append(*r, [2]string{name, cli.Text(fmt.Sprintf(format, a...), cli.MaxText)})
}

// print writes the rows in two columns. The texts are wrapped to the width, which is 0
// for no limit.
func (r rows) print(w io.Writer, width int) error {
	column := 0
	for _, row := range r {
		column = max(column, len(row[0])+2)
	}
	for _, row := range r {
		for i, line := range wrap(row[1], width-column) {
			name := row[0]
			if i > 0 {
				name = ""
			}
			if _, err := fmt.Fprintf(w, "%-*s%s\n", column, name, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// wrap breaks a text at spaces into lines of at most width characters. A longer word has
// a line of its own. Below 20 characters it breaks nothing.
func wrap(text string, width int) (lines []string) {
	if width < 20 || utf8.RuneCountInString(text) <= width {
		return []string{text}
	}
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

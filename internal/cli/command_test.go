package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"ukdump/internal/advice"
)

// verb returns a command that notes how it was run in seen.
func verb(name string, min, max int, seen *string) *Command {
	var json bool
	var dir string
	var also []string
	return &Command{
		Name: name, Summary: "do something", About: "Does something.", Min: min, Max: max, Args: "[ARGUMENT]...",
		Options: func(f *pflag.FlagSet) {
			f.BoolVar(&json, "json", false, "print JSON")
			f.StringVar(&dir, "dir", "", "`DIRECTORY` look here")
			f.StringArrayVar(&also, "also", nil, "`THING` and this")
		},
		Run: func(args []string) error {
			*seen = fmt.Sprintf("%v %s %s|%s", json, dir, strings.Join(also, " "), strings.Join(args, " "))
			return nil
		},
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name     string
		args     string
		min, max int
		seen     string // --json, --dir, --also and the arguments
		err      string // of the usage error
	}{
		{name: "nothing", seen: "false  |"},
		{name: "options first", args: "--json --dir d a b", max: 2, seen: "true d |a b"},
		{name: "options last", args: "a b --json --dir=d", max: 2, seen: "true d |a b"},
		{name: "interleaved", args: "a --json b --dir d c", max: -1, seen: "true d |a b c"},
		{name: "several times", args: "--also x a --also y,z", max: 1, seen: "false  x y,z|a"},
		{name: "--", args: "--json -- --dir a", max: 2, seen: "true  |--dir a"},
		{name: "-- behind an argument", args: "a -- --json --", max: -1, seen: "false  |a --json --"},
		{name: "- is an argument", args: "- --json", max: 1, seen: "true  |-"},
		{name: "missing", args: "a", min: 2, max: 2, err: "an argument is missing: see prog verb --help"},
		{name: "too many", args: "a b\tc", max: 1, err: `unexpected argument "b\tc": see prog verb --help`},
		{name: "too many behind --", args: "-- --json", err: `unexpected argument "--json": see prog verb --help`},
		{name: "unknown", args: "a --jsno", max: 1, err: "unknown flag: --jsno: see prog verb --help"},
		{name: "without its value", args: "--dir", err: "flag needs an argument: --dir: see prog verb --help"},
		{name: "bad value", args: "--json=x", err: `invalid argument "x" for "--json" flag: must be true or false: see prog verb --help`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, out, errs := program()
			p.Args = []string{"verb"}
			if tt.args != "" {
				p.Args = append(p.Args, strings.Split(tt.args, " ")...)
			}
			before := slices.Clone(p.Args)
			seen := ""
			err := p.Dispatch(&Command{}, []*Command{verb("verb", tt.min, tt.max, &seen)}, 0)
			if out.Len()+errs.Len() > 0 {
				t.Errorf("it printed %q and %q", out, errs)
			}
			if !slices.Equal(p.Args, before) {
				t.Errorf("the caller's arguments became %q", p.Args)
			}
			if tt.err != "" {
				if err == nil || err.Error() != tt.err || advice.Status(err) != advice.Usage {
					t.Errorf("got %v, status %d\nwant %s", err, advice.Status(err), tt.err)
				}
				return
			}
			if err != nil || seen != tt.seen {
				t.Errorf("got %q, %v, want %q", seen, err, tt.seen)
			}
		})
	}
}

func TestDispatch(t *testing.T) {
	var seen string
	root := &Command{About: "A program.", Args: "VERB [ARGUMENT]...", Run: func([]string) error { seen = "root"; return nil }}
	only := verb("only", 0, 0, &seen)
	only.Root, only.Either = true, true
	verbs := []*Command{verb("list", 0, 1, &seen), only}
	const help = `Usage: prog VERB [ARGUMENT]...

A program.

  list  do something
  only  do something

prog VERB --help explains a verb.
`
	for _, tt := range []struct {
		args, seen, out, err string
		status               int
	}{
		{"", "root", "", "", 0},
		{"list a", "false  |a", "", "", 0},
		{"--help", "", help, "", 0},
		{"-h", "", help, "", 0},
		{"list -h", "", "Usage: prog list [--json] [--dir DIRECTORY] [--also THING] [ARGUMENT]...\n\nDoes something.\n\n" +
			"  --json           print JSON\n  --dir DIRECTORY  look here\n  --also THING     and this\n", "", 0},
		{"lsit", "", "", "prog: unknown verb \"lsit\", did you mean list?: see prog --help\n", 2},
		{"x", "", "", "prog: unknown verb \"x\": see prog --help\n", 2},
		{"only", "", "", "prog: only: only root can do that\nprog: Run sudo prog only.\n", 1},
		{"only --json --dir x", "", "", "prog: --json and --dir exclude each other\n", 2},
		{"__complete list --j", "", "--json\tprint JSON\n:4\n", "Completion ended with directive: ShellCompDirectiveNoFileComp\n", 0},
	} {
		seen = ""
		p, out, errs := program()
		p.Args = strings.Fields(tt.args)
		status := p.End(p.Dispatch(root, verbs, 1000))
		if status != tt.status || seen != tt.seen || out.String() != tt.out || errs.String() != tt.err {
			t.Errorf("%q: status %d, seen %q\nstdout %q\nstderr %q", tt.args, status, seen, out, errs)
		}
	}
}

func TestCompletion(t *testing.T) {
	var seen string
	for _, shell := range append(slices.Clone(Shells), "csh") {
		var out bytes.Buffer
		p := &Program{Name: "prog", Stdout: &out}
		err := p.Completion(shell, &Command{}, []*Command{verb("list", 0, 1, &seen)})
		if (err != nil) != (shell == "csh") || err == nil && !strings.Contains(out.String(), "__complete") {
			t.Errorf("%s: %v, %d bytes", shell, err, out.Len())
		}
	}
}

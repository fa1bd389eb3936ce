package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"ukdump/internal/advice"
	"ukdump/internal/plan"
)

// leave is the error of a command that ends the shell.
type leave struct{ status int }

func (l *leave) Error() string { return fmt.Sprintf("the shell ends with status %d", l.status) }

// prompt is short: a serial line shows every byte.
const prompt = "ukdump# "

// Interactive reads commands from the terminal until exit, a command that ends the shell,
// or the time without input is over. It returns the exit status of the shell.
func (s *Session) Interactive(in *os.File, out io.Writer) (status int) {
	lines := &input{file: in, timeout: s.timeout(), warn: func(left time.Duration) {
		fmt.Fprintf(out, "\nno input: %s in %d seconds; press Enter to stay\n", s.Final, int(left.Seconds()))
	}}
	runner, err := s.runner(out)
	if err != nil {
		fmt.Fprintf(out, "ukdump-rescue: %v\n", err)
		return 1
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	for {
		fmt.Fprint(out, prompt)
		parser := syntax.NewParser()
		for stmts, err := range parser.InteractiveSeq(lines) {
			if err != nil {
				fmt.Fprintln(out, err)
				break // the rest of the line is lost with the parser
			}
			if parser.Incomplete() {
				fmt.Fprint(out, "> ")
				continue
			}
			if status, done := s.execute(runner, stmts, interrupts, out); done {
				return status
			}
			fmt.Fprint(out, prompt)
		}
		if lines.over {
			fmt.Fprintln(out)
			return 0
		}
	}
}

// execute runs the statements of one line. done is true if the shell is to end.
func (s *Session) execute(r *interp.Runner, stmts []*syntax.Stmt, interrupts <-chan os.Signal, out io.Writer) (status int, done bool) {
	select {
	case <-interrupts: // pressed at the prompt
	default:
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-interrupts:
			cancel()
		case <-ctx.Done():
		}
	}()
	for _, stmt := range stmts {
		err := r.Run(ctx, stmt)
		var l *leave
		if errors.As(err, &l) {
			return l.status, true
		}
		var code interp.ExitStatus
		isStatus := errors.As(err, &code)
		if r.Exited() {
			return int(code), true
		}
		if ctx.Err() != nil {
			fmt.Fprintln(out, "interrupted")
			return 0, false
		}
		if err != nil && !isStatus {
			fmt.Fprintln(out, err)
		}
	}
	return 0, false
}

// Script runs a script in place of a person and returns the exit status.
func (s *Session) Script(text string, out io.Writer) (status int, err error) {
	file, err := syntax.NewParser().Parse(io.MultiReader(stringReader(text)), "script")
	if err != nil {
		return 0, err
	}
	r, err := s.runner(out)
	if err != nil {
		return 0, err
	}
	err = r.Run(context.Background(), file)
	var l *leave
	if errors.As(err, &l) {
		return l.status, nil
	}
	if code := interp.ExitStatus(0); errors.As(err, &code) {
		return int(code), nil
	}
	return 0, err
}

// runner returns an interpreter with the commands. They get no input from the console:
// that is the shell's, and a command that waits for it would never end.
func (s *Session) runner(out io.Writer) (*interp.Runner, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "PATH=/usr/bin:/bin", "HOME=/", "LD_LIBRARY_PATH=/"+plan.LibraryDir)
	return interp.New(
		interp.StdIO(null, out, out),
		interp.Env(expand.ListEnviron(env...)),
		interp.Dir(s.Root),
		interp.ExecHandlers(s.handler),
	)
}

// handler runs our commands, and programs of the image for other names. A command that an
// interrupt cannot stop goes on behind the next prompt.
func (s *Session) handler(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		run := lookup(args[0])
		if run == nil {
			return next(ctx, args)
		}
		hc := interp.HandlerCtx(ctx)
		in := io.Reader(hc.Stdin)
		if hc.Stdin == nil {
			in = eof{}
		}
		c := &call{s: s, ctx: ctx, args: args[1:], in: in, out: hc.Stdout, errors: hc.Stderr, dir: hc.Dir, env: func(key string) (string, bool) {
			v := hc.Env.Get(key)
			return v.String(), v.IsSet()
		}}
		ended := make(chan error, 1)
		go func() {
			defer func() {
				if r := recover(); r != nil {
					ended <- fmt.Errorf("internal error: %v", r)
				}
			}()
			ended <- run(c)
		}()
		select {
		case err := <-ended:
			return c.result(args[0], err)
		case <-ctx.Done():
			return interp.ExitStatus(130) // as bash after SIGINT
		}
	}
}

// result prints the error of a command, and its advice, and makes it a status.
func (c *call) result(name string, err error) error {
	if err == nil {
		return nil
	}
	var l *leave
	if errors.As(err, &l) {
		return err
	}
	if err != errSilent {
		fmt.Fprintf(c.errors, "%s: %v\n", name, err)
		var a interface{ Advice() string }
		if errors.As(err, &a) {
			fmt.Fprintln(c.errors, a.Advice())
		}
	}
	return interp.ExitStatus(1)
}

// usage returns the error of wrong arguments.
func usage(text string) error {
	return advice.With(errors.New("wrong arguments"), "Usage: "+text)
}

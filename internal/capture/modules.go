package capture

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/evidence"
	"ukdump/internal/plan"
)

// loadModules loads the modules of the plan in a child process, because a
// driver's initialisation can hang or oops, and takes its process with it. Where
// that happens another child goes on with the module after it.
func (w *worker) loadModules() error { return w.loadModulesBy(self, roleModules) }

// loadModulesBy loads them by the program argv, which gets the index of the
// first one as one more argument.
func (w *worker) loadModulesBy(argv ...string) error {
	failed := 0
	// In the state, so that a worker that follows this one goes on behind it.
	next := &w.state.Module
	for *next < len(w.plan.Modules) {
		n, how, err := w.followModules(append(argv[:len(argv):len(argv)], strconv.Itoa(*next)))
		if err != nil {
			return err
		}
		failed += n
		if *next == len(w.plan.Modules) {
			break
		}
		failed++
		w.fail("load module %s: it did not come back: %s", w.plan.Modules[*next].Name, how)
		*next++
		w.save()
		w.super.progress()
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d could not be loaded", failed, len(w.plan.Modules))
	}
	return nil
}

// followModules runs one child until it ends or is silent for longer than one module
// may take, and then kills it. It counts the modules that the child has tried in
// state.Module, and returns how many of these it could not load and how the child
// ended.
func (w *worker) followModules(argv []string) (failed int, how string, err error) {
	r, wr, err := pipe()
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	p, err := start(argv, childEnv, []*os.File{wr, wr, wr})
	wr.Close()
	if err != nil {
		return 0, "", err
	}
	limit := seconds(w.plan.Deadlines.Module)
	var out bytes.Buffer
	for last := uptime(); ; waitReadable(r, 100*time.Millisecond) {
		ended := p.poll() // before the pipe is read, so that no output is missed
		n := readSome(r, &out)
		failed += w.countModules(&out)
		switch {
		case n > 0:
			last = uptime()
			w.super.progress()
			w.sample()
		case ended:
			return failed, p.how(), nil
		case p.leaderDead():
			p.kill(time.Second)
			return failed, "died in the kernel", nil
		case uptime()-last > limit:
			p.kill(time.Second)
			return failed, p.how(), nil
		}
	}
}

// countModules takes whole lines out of the child's output, one for each
// module, and returns how many of them are errors. That the state is not saved
// with each does no harm: loading a module again is no error.
func (w *worker) countModules(out *bytes.Buffer) (failed int) {
	for w.state.Module < len(w.plan.Modules) {
		line, ok := cutLine(out)
		if !ok {
			break
		}
		if line != "" {
			failed++
			w.fail("load module %s", evidence.Printable(line))
		}
		w.state.Module++
	}
	return failed
}

func init() {
	// An oops kills the thread that was in the driver, and no other. If that is
	// the first one it can be seen; else the child would only be silent.
	if len(os.Args) > 1 && os.Args[1] == roleModules {
		runtime.LockOSThread()
	}
}

// runModules is the child that loads modules. Its argument is the index of the first
// one. It writes a line for each, empty or an error.
func runModules(_ mode, args []string) int {
	p, err := readPlan()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	i, err := strconv.Atoi(args[0])
	if err != nil || i < 0 {
		return 2
	}
	for ; i < len(p.Modules); i++ {
		if err := loadModule(&p.Modules[i]); err != nil {
			fmt.Printf("%s: %v\n", p.Modules[i].Name, err)
		} else {
			fmt.Println()
		}
	}
	return 0
}

// loadModule hands one module to the kernel and removes its file, which is
// memory too.
func loadModule(m *plan.Module) error {
	path := "/" + m.Path
	f, err := os.Open(path)
	if err != nil {
		// A worker that has died may have come further than it could say.
		if fileExists("/sys/module/" + m.Name) {
			return nil
		}
		return err
	}
	defer os.Remove(path)
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), m.Params, 0)
	switch err {
	case unix.EEXIST: // built in after all, or loaded by an alias
		return nil
	case unix.ENODEV: // for a feature that this processor lacks: crc32c_intel
		return nil
	}
	return os.NewSyscallError("finit_module", err)
}

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

// loadModules loads the modules of the plan in a child process, because a driver that
// hangs or oopses takes its process with it. The next child then continues with the
// next module.
func (w *worker) loadModules() error { return w.loadModulesBy(self, roleModules) }

// loadModulesBy loads the modules by the program argv, which gets the index of the
// first module as an additional argument.
func (w *worker) loadModulesBy(argv ...string) error {
	failed := 0
	// In the state, so that the next worker continues there.
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
		w.fail("load module %s: did not come back: %s", w.plan.Modules[*next].Name, how)
		*next++
		w.save()
		w.super.progress()
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d could not be loaded", failed, len(w.plan.Modules))
	}
	return nil
}

// followModules runs one child until its end, and kills it if it is silent for longer
// than one module may take. It counts the modules that the child tried in state.Module.
// It returns the number of those that failed, and how the child ended.
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
	var dead time.Duration // since when its first thread is
	for last := uptime(); ; waitReadable(r, 100*time.Millisecond) {
		ended := p.poll() // before the read, so that no output is missed
		n := readSome(r, &out)
		failed += w.countModules(&out)
		switch {
		case n > 0:
			last = uptime()
			w.super.progress()
			w.sample()
		case ended:
			return failed, p.how(), nil
		case !p.leaderDead():
			dead = 0
			if uptime()-last > limit {
				p.kill(time.Second)
				return failed, p.how(), nil
			}
		case dead == 0: // at a normal end, other threads may take a moment longer
			dead = uptime()
		case uptime()-dead > deadLimit:
			p.kill(time.Second)
			return failed, "died in the kernel", nil
		}
	}
}

// deadLimit is how long the other threads of a child may outlive the first one.
const deadLimit = 2 * time.Second

// countModules removes whole lines from the child's output, one for each module, and
// returns the number of errors. It need not save the state each time: loading a module
// again is no error.
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
	// An oops kills only the thread that was in the driver. leaderDead sees the end
	// of the first thread; of another one the child would only fall silent.
	if len(os.Args) > 1 && os.Args[1] == roleModules {
		runtime.LockOSThread()
	}
}

// runModules is the child that loads modules, from the index in its argument on. It
// writes a line for each, empty or an error.
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

// loadModule loads one module and removes its file, which takes memory too.
func loadModule(m *plan.Module) error {
	path := "/" + m.Path
	f, err := os.Open(path)
	if err != nil {
		// A worker that died may have loaded it without saving that.
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

package capture

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ukdump/internal/plan"
)

// loadModules loads the modules of the plan in a child process, because a
// driver's initialisation can hang or oops. Where that happens another child
// goes on with the module after it.
func (w *worker) loadModules() error {
	limit := seconds(w.plan.Deadlines.Module)
	failed := 0
	// In the state, so that a worker that follows this one goes on behind it.
	next := &w.state.Module
	for *next < len(w.plan.Modules) {
		r, wr, err := pipe()
		if err != nil {
			return err
		}
		p, err := start([]string{self, roleModules, strconv.Itoa(*next)}, childEnv, []*os.File{wr, wr, wr})
		wr.Close()
		if err != nil {
			r.Close()
			return err
		}
		var out bytes.Buffer
		for last := uptime(); ; {
			ended := p.poll()
			n := readSome(r, &out)
			for {
				line, ok := cutLine(&out)
				if !ok {
					break
				}
				if line != "" {
					failed++
					w.fail("load module %s", line)
				}
				*next++ // saved with the step: loading one again does no harm
			}
			if n > 0 {
				last = uptime()
				w.super.progress()
				w.sample()
			}
			if ended && n == 0 {
				break
			}
			if uptime()-last > limit {
				p.kill(time.Second)
				break
			}
			waitReadable(r, 100*time.Millisecond)
		}
		r.Close()
		if *next < len(w.plan.Modules) {
			failed++
			w.fail("load module %s: it did not come back: %s", w.plan.Modules[*next].Name, p.how())
			*next++
			w.save()
			w.super.progress()
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d could not be loaded", failed, len(w.plan.Modules))
	}
	return nil
}

// runModules is the child: it loads the modules from index first on and writes
// one line for each, empty or an error.
func runModules(first string) int {
	p, err := readPlan()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	i, err := strconv.Atoi(first)
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

package kmod

import (
	"fmt"
	"slices"
	"strings"
)

// Request is one thing that the kernel must be able to do.
type Request struct {
	// Alias is the kernel's name for a device (its modalias). Every module that serves
	// it is loaded. If one of Names is among these modules or built in, only that one
	// is.
	Alias string
	// Names are modules or fixed aliases (fs-ext4), in order of preference: the first
	// that exists is loaded. With an Alias, they are tried only if nothing serves it:
	// built-in drivers have no device aliases on kernels before 6.18.
	Names []string
	// Optional says that it is no error if nothing serves the request.
	Optional bool
	// Unlisted says that a part of the kernel may serve the request without being
	// listed in any table. Resolve then returns the request in Unmet, for the caller to
	// examine.
	Unlisted bool `json:",omitempty"`
	// Why is the reason, for people: "file system ext4".
	Why string
	// Label is a shorter Why for tables, "ahci" for a driver; empty for Why itself.
	Label string `json:"-"`
	// For names the device that needs it: a path in sysfs, or the kernel's name of a
	// block device that is made of others; empty for file systems and other requests.
	For string `json:"-"`
}

// tried returns the names that r tries, for messages.
func (r *Request) tried() string {
	s := r.Names
	if r.Alias != "" {
		s = append([]string{r.Alias}, s...)
	}
	return strings.Join(s, ", ")
}

// Builtin is a part of the kernel that served a request without a module.
type Builtin struct {
	Name, Reason string
	Firmware     []string // files it may ask for, below /lib/firmware
}

// Resolution is the answer to a list of requests.
type Resolution struct {
	Modules []Module  // in load order, each once
	Builtin []Builtin // parts of the kernel that serve without a module, each once
	Unmet   []Request // optional and unlisted requests that nothing serves
	Broken  []error   // why optional modules are left out
}

// MissingError reports a request that nothing in the kernel serves.
type MissingError struct {
	Release string
	Request Request
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("kernel %s has no module for %s: looked for %s", e.Release, e.Request.Why, e.Request.tried())
}

// Advice returns the remedy.
func (e *MissingError) Advice() string {
	return "Choose a kernel that has it with KERNEL=, or storage that this one can reach with TARGET=."
}

// Resolve returns the modules to load for requests, in the order of the requests.
// Dependencies of a module and its soft dependencies "pre" come before it, soft
// dependencies "post" after it. The error is a *MissingError, or a *TreeError if a
// module's file does not exist or if a line that it needs is damaged.
func (t *Tree) Resolve(requests ...Request) (*Resolution, error) {
	r := resolver{tree: t, state: make(map[string]bool)}
	for _, q := range requests {
		serve := func() error { return r.serve(q) }
		if q.Optional {
			r.try(serve)
		} else if err := serve(); err != nil {
			return nil, err
		}
	}
	return &r.out, nil
}

// serve loads the modules for q.
func (r *resolver) serve(q Request) error {
	t := r.tree
	loadable, builtin := t.find(q)
	if len(loadable)+len(builtin) == 0 {
		// The parts of the kernel that are listed nowhere must not hide a damaged line.
		if d := t.damageOf(q); d != nil {
			return &TreeError{t.release, fmt.Errorf("no module for %s: %w", q.Why, d)}
		}
		if !q.Optional && !q.Unlisted {
			return &MissingError{Release: t.release, Request: q}
		}
		r.out.Unmet = append(r.out.Unmet, q)
	}
	for _, name := range builtin {
		r.useBuiltin(name, q.Why)
	}
	for _, name := range loadable {
		if err := r.load(Module{Name: name, Reason: q.Why}); err != nil {
			return err
		}
	}
	return nil
}

// try loads something optional. If that fails, nothing of it is loaded.
func (r *resolver) try(load func() error) {
	entered, modules, builtin, unmet := len(r.entered), len(r.out.Modules), len(r.out.Builtin), len(r.out.Unmet)
	err := load()
	if err == nil {
		return
	}
	for _, name := range r.entered[entered:] {
		delete(r.state, name)
	}
	r.entered = r.entered[:entered]
	r.out.Modules, r.out.Builtin, r.out.Unmet = r.out.Modules[:modules], r.out.Builtin[:builtin], r.out.Unmet[:unmet]
	if !slices.ContainsFunc(r.out.Broken, func(known error) bool { return known.Error() == err.Error() }) {
		r.out.Broken = append(r.out.Broken, err)
	}
}

// find returns the modules that serve q.
func (t *Tree) find(q Request) (loadable, builtin []string) {
	if q.Alias != "" {
		loadable, builtin = t.lookupAlias(q.Alias)
		for _, name := range q.Names {
			name = normalise(name)
			if slices.Contains(loadable, name) {
				return []string{name}, nil
			}
			if slices.Contains(builtin, name) {
				return nil, []string{name}
			}
		}
		if len(loadable)+len(builtin) > 0 {
			return loadable, builtin
		}
	}
	for _, name := range q.Names {
		if loadable, builtin = t.findName(name); len(loadable)+len(builtin) > 0 {
			return loadable, builtin
		}
	}
	return nil, nil
}

// findName returns the modules and built-in parts that a name stands for, in the order
// of modprobe(8): a module of this name, or those that have it as an alias. The name
// crc32 is both: a part of the kernel and an alias of the modules that offer it to the
// crypto API.
func (t *Tree) findName(name string) (loadable, builtin []string) {
	n := normalise(name)
	if t.modules[n] != nil {
		return []string{n}, nil
	}
	loadable, builtin = t.lookupAlias(name)
	if t.builtin[n] && !slices.Contains(builtin, n) {
		builtin = append(builtin, n)
	}
	return loadable, builtin
}

type resolver struct {
	tree    *Tree
	state   map[string]bool // modules and built-in parts that were entered
	entered []string        // the same, in order
	out     Resolution
}

// enter reports whether a module or a built-in part is entered for the first time.
func (r *resolver) enter(name string) bool {
	if r.state[name] {
		return false
	}
	r.state[name] = true
	r.entered = append(r.entered, name)
	return true
}

// load appends m, whose path is not known yet, and its dependencies. Soft dependencies
// may be circular: a module that was entered is not entered again.
func (r *resolver) load(m Module) error {
	name := m.Name
	if !r.enter(name) {
		return nil
	}
	e, soft := r.tree.modules[name], r.tree.softdep[name]
	if err := r.tree.checkFile(e); err != nil {
		return err
	}
	if soft.damage != nil {
		return &TreeError{r.tree.release, soft.damage}
	}
	r.loadSoft(soft.pre, name)
	for i := len(e.deps) - 1; i >= 0; i-- {
		dep := moduleName(e.deps[i])
		if r.tree.modules[dep] == nil { // depmod gives every module a line of its own
			return &TreeError{r.tree.release, fmt.Errorf("modules.dep:%d: %s needs %s, which has no line", e.line, e.path, e.deps[i])}
		}
		if err := r.load(Module{Name: dep, Reason: "dependency of " + name, Dependency: true}); err != nil {
			return err
		}
	}
	m.Path = e.path
	r.out.Modules = append(r.out.Modules, m)
	r.loadSoft(soft.post, name)
	return nil
}

// loadSoft loads those soft dependencies of module that exist.
func (r *resolver) loadSoft(names []string, module string) {
	for _, dep := range names {
		loadable, _ := r.tree.findName(dep)
		for _, m := range loadable {
			r.try(func() error {
				return r.load(Module{Name: m, Reason: "soft dependency of " + module, Dependency: true})
			})
		}
	}
}

// useBuiltin notes a built-in part. Its soft dependencies are loaded unless another
// built-in part provides them: the modules would only be faster.
func (r *resolver) useBuiltin(name, why string) {
	if !r.enter(name) {
		return
	}
	r.out.Builtin = append(r.out.Builtin, Builtin{Name: name, Reason: why, Firmware: r.tree.firmware[name]})
	soft := r.tree.softdep[name]
	for _, dep := range slices.Concat(soft.pre, soft.post) {
		if _, builtin := r.tree.findName(dep); len(builtin) == 0 {
			r.loadSoft([]string{dep}, name)
		}
	}
}

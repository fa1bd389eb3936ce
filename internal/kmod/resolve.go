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
// module's file does not exist.
func (t *Tree) Resolve(requests ...Request) (*Resolution, error) {
	r := resolver{tree: t, state: make(map[string]bool)}
	for _, q := range requests {
		loadable, builtin := t.find(q)
		if len(loadable)+len(builtin) == 0 {
			if !q.Optional && !q.Unlisted {
				return nil, &MissingError{Release: t.release, Request: q}
			}
			r.out.Unmet = append(r.out.Unmet, q)
		}
		for _, name := range builtin {
			if err := r.useBuiltin(name, q.Why); err != nil {
				return nil, err
			}
		}
		for _, name := range loadable {
			if err := r.load(Module{Name: name, Reason: q.Why}); err != nil {
				return nil, err
			}
		}
	}
	return &r.out, nil
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
	tree  *Tree
	state map[string]bool // modules and built-in parts that were entered
	out   Resolution
}

// load appends m, whose path is not known yet, and its dependencies. Soft dependencies
// may be circular: a module that was entered is not entered again.
func (r *resolver) load(m Module) error {
	name := m.Name
	if r.state[name] {
		return nil
	}
	r.state[name] = true
	e := r.tree.modules[name]
	if err := r.tree.checkFile(e); err != nil {
		return err
	}
	soft := r.tree.softdep[name]
	if err := r.loadSoft(soft.pre, name); err != nil {
		return err
	}
	for i := len(e.deps) - 1; i >= 0; i-- {
		if err := r.load(Module{Name: moduleName(e.deps[i]), Reason: "dependency of " + name, Dependency: true}); err != nil {
			return err
		}
	}
	m.Path = e.path
	r.out.Modules = append(r.out.Modules, m)
	return r.loadSoft(soft.post, name)
}

// loadSoft loads those soft dependencies of module that exist.
func (r *resolver) loadSoft(names []string, module string) error {
	for _, dep := range names {
		loadable, _ := r.tree.findName(dep)
		for _, m := range loadable {
			if err := r.load(Module{Name: m, Reason: "soft dependency of " + module, Dependency: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// useBuiltin notes a built-in part. Its soft dependencies are loaded unless another
// built-in part provides them: the modules would only be faster.
func (r *resolver) useBuiltin(name, why string) error {
	if r.state[name] {
		return nil
	}
	r.state[name] = true
	r.out.Builtin = append(r.out.Builtin, Builtin{Name: name, Reason: why, Firmware: r.tree.firmware[name]})
	soft := r.tree.softdep[name]
	for _, dep := range slices.Concat(soft.pre, soft.post) {
		if _, builtin := r.tree.findName(dep); len(builtin) == 0 {
			if err := r.loadSoft([]string{dep}, name); err != nil {
				return err
			}
		}
	}
	return nil
}

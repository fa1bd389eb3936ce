package builder

import (
	"cmp"
	"slices"

	"ukdump/internal/host"
	"ukdump/internal/kmod"
	"ukdump/internal/plan"
)

// Stack describes the storage of a target or of a place for evidence, from the file
// system down to the controllers, and the parts of the chosen kernel for each level.
type Stack struct {
	Target  string             // as in plan.Target.Dir
	Type    string             // of the file system, or of a raw device's content
	UUID    string             // of the same
	Blocks  []host.BlockDevice // as host.Storage.Stack
	Devices []host.Device      // as host.Storage.Devices
	Links   []string           // of the way to a server, the one with the addresses first
	Needs   []Need             // in the order in which PID 1 loads the modules

	requests []kmod.Request
}

// Need lists the parts of the chosen kernel for one level of a Stack: modules,
// built-in parts, or both. It has neither if the kernel lacks support.
type Need struct {
	For      string // the object that needs it, see kmod.Request
	Why      string // for people
	Label    string // the same in short: the name of a driver
	Optional bool   // works without
	Unknown  bool   // nothing was found for it, but the kernel may have it built in without listing it

	Modules []string // that serve it
	With    []string // their dependencies
	Builtin []string
}

// Survey detects the storage of the targets and the places for evidence in the
// options. Unlike New it continues if the chosen kernel lacks a part. If a
// target cannot be used, it returns the others, and the error that New gives. In
// emergency mode there is nothing to find out: the distribution opens its storage.
func Survey(o Options) ([]Stack, error) {
	if o.Config.Emergency() {
		return nil, nil
	}
	b, err := open(o) // New repeats its warnings
	if err != nil {
		return nil, err
	}
	var tree *kmod.Tree
	if !monolithic(b.conf) {
		if tree, err = b.openTree(); err != nil {
			return nil, err
		}
	}
	_, err = b.addTargets(o)
	if err == nil {
		_, err = b.addEvidence(o)
	}
	var stacks []Stack
	for _, t := range slices.Concat(b.Plan.Targets, b.Plan.Evidence) {
		// One that was left out after all has no target.
		i := slices.IndexFunc(b.stacks, func(s Stack) bool { return s.Target == t.Dir })
		s := b.stacks[i]
		for _, q := range s.requests {
			s.Needs = append(s.Needs, b.need(tree, q))
		}
		stacks = append(stacks, s)
	}
	return stacks, err
}

// Targets returns the stacks of the targets. In emergency mode nothing is known of them.
func (b *Build) Targets() []Stack {
	return slices.DeleteFunc(slices.Clone(b.stacks), func(s Stack) bool {
		return !slices.ContainsFunc(b.Plan.Targets, func(t plan.Target) bool { return t.Dir == s.Target })
	})
}

// need returns the parts of the kernel that serve q. Of a monolithic kernel, which
// has no tree, that is an option of its configuration.
func (b *Build) need(tree *kmod.Tree, q kmod.Request) Need {
	n := Need{For: q.For, Why: q.Why, Label: cmp.Or(q.Label, q.Why), Optional: q.Optional}
	if tree != nil {
		res, err := tree.Resolve(q)
		if err != nil {
			return n // New says why
		}
		for _, m := range res.Modules {
			if m.Dependency {
				n.With = append(n.With, m.Name)
			} else {
				n.Modules = append(n.Modules, m.Name)
			}
		}
		for _, x := range res.Builtin {
			n.Builtin = append(n.Builtin, x.Name)
		}
	}
	if n.Lacks() {
		proof, lacks := b.builtin(q)
		if proof != "" {
			n.Builtin = []string{proof}
		}
		n.Unknown = proof == "" && lacks == ""
	}
	return n
}

// Lacks reports whether the chosen kernel has nothing for n.
func (n *Need) Lacks() bool { return len(n.Modules)+len(n.Builtin) == 0 }

package verify

import (
	"fmt"
	"reflect"
	"strings"

	"ukdump/internal/cli"
	"ukdump/internal/load"
	"ukdump/internal/plan"
)

// checkPlan compares the plan of the image with that of this machine now.
func (v *Run) checkPlan() {
	if v.Image.Plan == nil {
		v.Problem("plan", load.NeedsReload("not an image of ukdump: no file %s", plan.Path))
		return
	}
	p, err := plan.Parse(v.Image.Plan)
	if err != nil {
		v.Problem("plan", load.NeedsReload("%w", err))
		return
	}
	v.plan = p
	if v.build == nil {
		return
	}
	now := v.build.Plan
	if p.Host.MachineID != now.Host.MachineID {
		v.Problem("plan", load.NeedsReload("built for another machine, %s (machine ID %s); this is %s (%s)",
			cli.OrDash(p.Host.Name), cli.OrDash(p.Host.MachineID), cli.OrDash(now.Host.Name), cli.OrDash(now.Host.MachineID)))
		return
	}
	changes := planChanges(p, now)
	for _, s := range changes {
		v.Problem("plan", load.NeedsReload("%s", s))
	}
	if len(changes) == 0 {
		v.ok("plan", "a build now makes the same plan: %s", load.TargetNames(p))
	}
}

// planChanges says where a plan is not the one for now. Modules are left out: the
// files tell about them.
func planChanges(p, now *plan.Plan) (list []string) {
	add := func(format string, a ...any) { list = append(list, fmt.Sprintf(format, a...)) }
	if p.Kernel != now.Kernel {
		add("built for kernel %s (%s), not for %s (%s)", p.Kernel.Release, p.Kernel.Arch, now.Kernel.Release, now.Kernel.Arch)
	}
	if p.Host.Name != now.Host.Name {
		add("the host was called %s, and is called %s now", cli.OrDash(p.Host.Name), cli.OrDash(now.Host.Name))
	}
	if have, want := load.TargetNames(p), load.TargetNames(now); have != want {
		add("the targets are %s; a build now has %s", have, want)
	} else {
		for i := range p.Targets {
			list = append(list, targetChanges(&p.Targets[i], &now.Targets[i])...)
		}
	}
	if p.Remote != nil || now.Remote != nil {
		list = append(list, remoteChanges(p, now)...)
	}
	for _, x := range []struct {
		name      string
		have, now any
	}{
		{"the locations of EVIDENCE", p.Evidence, now.Evidence},
		{"pstore", p.Pstore, now.Pstore},
		{"whether old dumps may go", p.MakeSpace, now.MakeSpace},
		{"whether a vmcore is saved", p.LogOnly, now.LogOnly},
		{"the collectors", p.Collectors, now.Collectors},
		{"the watchdogs", p.Watchdogs, now.Watchdogs},
		{"the deadlines", p.Deadlines, now.Deadlines},
		{"the final action", p.FinalAction, now.FinalAction},
		{"the action after a failure", p.FailureAction, now.FailureAction},
	} {
		if !reflect.DeepEqual(x.have, x.now) {
			add("differs from the configuration: %s", x.name)
		}
	}
	return list
}

// targetChanges lists how a target differs from the present one.
func targetChanges(t, now *plan.Target) (list []string) {
	for _, x := range []struct{ name, have, now string }{
		{"file system", t.Filesystem.Type + " " + t.Filesystem.UUID, now.Filesystem.Type + " " + now.Filesystem.UUID},
		{"mount options", t.Filesystem.Options, now.Filesystem.Options},
		{"directory in the file system", t.Path, now.Path},
		{"PARTUUID", t.Device.PartUUID, now.Device.PartUUID},
		{"device", t.Device.Name + " " + t.Device.Path, now.Device.Name + " " + now.Device.Path},
		{"layers", layerNames(t.Layers), layerNames(now.Layers)},
	} {
		if x.have != x.now {
			list = append(list, fmt.Sprintf("%s: %s: %s in the image, %s now", t.Dir, x.name, cli.OrDash(strings.TrimSpace(x.have)), cli.OrDash(strings.TrimSpace(x.now))))
		}
	}
	if len(list) == 0 && !reflect.DeepEqual(t, now) {
		list = append(list, t.Dir+": the devices to assemble have changed")
	}
	return list
}

func layerNames(layers []plan.Layer) string {
	var names []string
	for _, l := range layers {
		names = append(names, fmt.Sprintf("%s %s (%s)", l.Kind, l.Name, l.UUID))
	}
	return strings.Join(names, ", ")
}

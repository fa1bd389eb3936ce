package builder

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/config"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/host"
	"ukdump/internal/kmod"
	"ukdump/internal/plan"
	"ukdump/internal/target"
)

// addTargets plans the targets and returns the modules for them.
func (b *Build) addTargets(o Options) ([]kmod.Request, error) {
	list, chosen := o.Targets, true
	if len(list) == 0 {
		list, chosen = o.Config.Targets, o.Config.IsSet("TARGET")
	}
	var all []kmod.Request
	var left error // why the last one was left out
	// Without its key a volume cannot take a dump, but the evidence can be saved
	// elsewhere.
	onlyEvidence := false
	evidence := slices.ContainsFunc(o.Config.Evidence, func(e string) bool { return e != config.Pstore })
	for _, named := range list {
		t, requests, err := b.target(named, o)
		if err == nil {
			err = b.notTwice(t)
		}
		byDefault := named.Raw() && !chosen
		var none *host.NoSwapError
		var noKey *cryptkeys.UnsupportedError
		var absent *host.AbsentError
		switch {
		case err == nil:
			b.Plan.Targets = append(b.Plan.Targets, t)
			for i := range requests {
				requests[i].Optional = requests[i].Optional || byDefault
			}
			all = append(all, requests...)
			continue
		case byDefault:
			b.LeftOut = append(b.LeftOut, err)
		case errors.As(err, &absent):
			b.Omitted = append(b.Omitted, &OmittedError{Target: named.String(), Before: len(b.Plan.Targets), Err: absent})
		case errors.As(err, &none):
			b.warn("%v: omitted", err)
		case errors.As(err, &noKey) && evidence:
			b.warn("%v: %s is omitted", err, named)
			onlyEvidence = true
		default:
			return nil, err
		}
		left = err
	}
	if len(b.Plan.Targets) == 0 && onlyEvidence {
		b.warn("no target is left for a dump: only log and report are saved, as EVIDENCE says")
	} else if len(b.Plan.Targets) == 0 && len(b.Omitted) > 0 {
		first := b.Omitted[0]
		return nil, advice.With(fmt.Errorf("target %s: %w", first.Target, first.Err),
			"Run kdumpctl reload when the server can be reached, or add a directory on this machine to TARGET=.")
	} else if len(b.Plan.Targets) == 0 {
		return nil, fmt.Errorf("no target is left for a dump: %w", left)
	}
	return all, nil
}

// OmittedError says that the image lacks a target, because its server cannot be reached at
// the moment. A build when it can be reached has the target.
type OmittedError struct {
	Target string // as in plan.Target.Dir
	Before int    // number of targets in the plan that come before it
	Err    *host.AbsentError
}

func (e *OmittedError) Error() string { return "target " + e.Target + " is omitted: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *OmittedError) Unwrap() error { return e.Err }

// Advice returns the remedy.
func (e *OmittedError) Advice() string {
	if dns := (*net.DNSError)(nil); errors.As(e.Err, &dns) && dns.IsNotFound {
		return "Correct the name in TARGET=, or run kdumpctl reload when it resolves."
	}
	return "Run kdumpctl reload when the server can be reached."
}

// target detects the storage of a target on this machine.
func (b *Build) target(t target.Target, o Options) (plan.Target, []kmod.Request, error) {
	if t.Remote() {
		return b.server(t, o)
	}
	if !t.Raw() {
		return b.directory(t.Name)
	}
	name := t.String() // in the plan and in reports
	r, err := b.host.Raw(t, o.Config.RawOverwrite)
	if err != nil {
		return plan.Target{}, nil, err
	}
	if b.RawSizes == nil {
		b.RawSizes = make(map[string]int64)
	}
	b.RawSizes[name] = r.Stack[0].Size
	if r.Dump {
		b.Uncollected = append(b.Uncollected, name)
	}
	if err := b.checkTables(r.Stack); err != nil {
		return plan.Target{}, nil, err
	}
	b.checkIOMMU(name, r.Devices)
	if b.Plan.Host.MachineID == "" {
		b.warn("%s: only kdumpctl collect --foreign saves a dump there, as this machine has no machine-id", name)
	}
	layers, requests, err := b.layers(name, r.Stack)
	if refused := (*host.UnsupportedError)(nil); errors.As(err, &refused) {
		refused.Raw = true
	}
	requests = append(requests, r.Requests()...)
	b.stacks = append(b.stacks, Stack{Target: name, Type: r.Type, UUID: r.UUID, Blocks: r.Stack, Devices: r.Devices, requests: requests})
	device := planDevice(r.Stack[0], r.PartUUID)
	if r.Stack[0].Kind == host.LVM {
		device.Volume = r.Stack[0].DMUUID
	}
	return plan.Target{
		Kind:       plan.Raw,
		Dir:        name,
		Layers:     layers,
		Filesystem: plan.Filesystem{Type: r.Type, UUID: r.UUID},
		Device:     device,
	}, requests, err
}

// directory finds out where a directory is.
func (b *Build) directory(dir string) (plan.Target, []kmod.Request, error) {
	s, err := b.host.Storage(dir)
	if err != nil {
		return plan.Target{}, nil, err
	}
	if err := b.checkFilesystem(s); err != nil {
		return plan.Target{}, nil, err
	}
	if err := b.checkTables(s.Stack); err != nil {
		return plan.Target{}, nil, err
	}
	b.checkIOMMU(s.Dir, s.Devices)
	if ro := s.ReadOnlyTarget(); ro != nil {
		b.ReadOnly = append(b.ReadOnly, ro)
	}
	layers, requests, err := b.layers(s.Dir, s.Stack)
	if len(s.Copies) > 0 && len(layers) == 0 { // an assembled device has more to match, as one volume of several snapshots
		b.warn("%s: %s on %s has the UUID %s, and so has %s: a copy. Give one of them a new UUID, or the dump may have to go elsewhere",
			s.Dir, s.FSType, s.Stack[0].Name, s.UUID, strings.Join(s.Copies, ", "))
	}
	requests = append(requests, s.Requests()...)
	b.stacks = append(b.stacks, Stack{Target: s.Dir, Type: s.FSType, UUID: s.UUID, Blocks: s.Stack, Devices: s.Devices, requests: requests})
	return plan.Target{
		Kind:       plan.Directory,
		Dir:        s.Dir,
		Layers:     append(layers, filesystemLayer(s)...),
		Filesystem: plan.Filesystem{Type: s.FSType, UUID: s.UUID, Options: s.Options},
		Path:       s.PathInFS,
		Device:     planDevice(s.Stack[0], ""),
	}, requests, err
}

func planDevice(d host.BlockDevice, partUUID string) plan.Device {
	p := plan.Device{
		Name: d.Name, Path: strings.TrimPrefix(d.Path, "/sys/devices/"),
		PartUUID: cmp.Or(partUUID, d.PartUUID), Serial: d.Serial,
	}
	if d.Kind == host.Multipath {
		p.Path = "" // nobody makes it in the capture kernel: any of its paths will do
	}
	return p
}

// notTwice refuses a device that takes raw dumps and is another target too.
func (b *Build) notTwice(t plan.Target) error {
	for _, other := range b.Plan.Targets {
		if t.Device.Name != "" && other.Device.Name == t.Device.Name && (other.Kind == plan.Raw || t.Kind == plan.Raw) {
			return &host.RawError{
				Target: t.Dir, Device: t.Device.Name, Err: errors.New("the device of the target " + other.Dir),
				Remedy: "Name each raw device once.",
			}
		}
	}
	return nil
}

// addEvidence plans the places for the log and the report where no target can
// take them, and returns the modules for them.
func (b *Build) addEvidence(o Options) ([]kmod.Request, error) {
	all, err := b.evidence(o, b.directory)
	if err == nil && b.Plan.Pstore {
		all = append(all, b.host.PstoreRequests()...)
	}
	return all, err
}

// evidence plans the places for evidence; directory plans one that is a directory.
func (b *Build) evidence(o Options, directory func(dir string) (plan.Target, []kmod.Request, error)) (all []kmod.Request, err error) {
	for _, e := range o.Config.Evidence {
		if e == config.Pstore {
			// pstore is not encrypted.
			b.Plan.Pstore = len(o.Config.Encrypt) == 0 || !o.Config.EncryptReport
			continue
		}
		t, requests, err := directory(e)
		if err != nil {
			return nil, fmt.Errorf("%s: EVIDENCE: %w", o.Config.Where("EVIDENCE"), err)
		}
		b.Plan.Evidence = append(b.Plan.Evidence, t)
		all = append(all, requests...)
	}
	return all, nil
}

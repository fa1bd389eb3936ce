package builder

import (
	"strings"

	"ukdump/internal/host"
	"ukdump/internal/kmod"
	"ukdump/internal/plan"
)

// volume returns the layer of the logical volume d of a stack, and the modules for
// it. dir is for messages.
func (b *Build) volume(dir string, stack []host.BlockDevice, d host.BlockDevice) (plan.Layer, []kmod.Request, error) {
	v, err := b.host.Volume(dir, stack, d)
	if err != nil {
		return plan.Layer{}, nil, err
	}
	l := layerOf(plan.LVM, v.Name, v.UUID, v.Members, stack)
	l.LVM = &plan.LVMVolume{SystemID: v.SystemID}
	requests := []kmod.Request{{Names: []string{"dm-mod"}, Why: "LVM volume " + v.Name}}
	for _, x := range v.Devices {
		l.LVM.Devices = append(l.LVM.Devices, plan.LVMDevice(x))
		requests = append(requests, mapperModules(x.Type, x.Params, v.Name)...)
	}
	return l, requests, nil
}

// mapperModules returns the modules for a target of device-mapper.
func mapperModules(target, params, volume string) []kmod.Request {
	var names []string
	switch target {
	case "thin", "thin-pool":
		names = append(names, "dm-thin-pool")
	case "snapshot", "snapshot-origin":
		names = append(names, "dm-snapshot")
	case "cache":
		// The policy comes behind the features (cache.rst).
		names = append(names, "dm-cache", "dm-cache-smq")
	case "raid":
		// It is md inside, which asks for the module of the level by itself; but
		// here nobody would hear it.
		names = append(names, "dm-raid")
		for word := range strings.FieldsSeq(params) {
			level, _, _ := strings.Cut(word, "_")
			if module := raidModules[level]; module != "" {
				names = append(names, module)
			}
			break // the first word is the type
		}
	}
	var requests []kmod.Request
	for _, n := range names {
		requests = append(requests, kmod.Request{Names: []string{n}, Why: target + " target of LVM volume " + volume, Label: target + " target"})
	}
	return requests
}

// raidModules are the modules for the types of the raid target, cut before the
// "_" (Documentation/admin-guide/device-mapper/dm-raid.rst).
var raidModules = map[string]string{
	"raid0": "raid0", "raid1": "raid1", "raid10": "raid10", "raid4": "raid456", "raid5": "raid456", "raid6": "raid456",
}

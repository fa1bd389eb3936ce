package builder

import (
	"ukdump/internal/host"
	"ukdump/internal/plan"
)

// layerOf returns the layer that assembles d of members.
func layerOf(kind plan.LayerKind, name, uuid string, members []host.Member, stack []host.BlockDevice) plan.Layer {
	l := plan.Layer{Kind: kind, Name: name, UUID: uuid}
	for _, m := range members {
		d := plan.Device{Name: m.Name, ID: m.ID}
		for _, b := range stack {
			if b.Name == m.Name {
				d = planDevice(b, "")
				d.ID = m.ID
			}
		}
		l.Members = append(l.Members, d)
	}
	return l
}

func mdLayer(d host.BlockDevice, stack []host.BlockDevice) plan.Layer {
	return layerOf(plan.MD, d.Name, d.MD.UUID, d.MD.Members, stack)
}

func bcacheLayer(d host.BlockDevice, stack []host.BlockDevice) plan.Layer {
	return layerOf(plan.Bcache, d.Name, d.Bcache.UUID, d.Bcache.Members, stack)
}

// filesystemLayer returns the layer of a file system that has several devices, none
// if it has one.
func filesystemLayer(s *host.Storage) []plan.Layer {
	if len(s.Members) == 0 {
		return nil
	}
	l := layerOf(plan.LayerKind(s.FSType), s.UUID, s.UUID, s.Members, s.Stack)
	l.Missing = s.Missing
	return []plan.Layer{l}
}

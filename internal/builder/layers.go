package builder

import (
	"slices"

	"ukdump/internal/host"
	"ukdump/internal/kmod"
	"ukdump/internal/plan"
)

// layers returns the layers that PID 1 assembles for the first device of a target's
// stack, lowest first, and the modules for them. internal/host has refused stacks
// that cannot be assembled.
func (b *Build) layers(target string, stack []host.BlockDevice) (layers []plan.Layer, requests []kmod.Request, err error) {
	for _, d := range slices.Backward(stack) {
		before := len(requests)
		switch d.Kind {
		case host.Crypt:
			l, more, err := b.cryptLayer(d, stack)
			if err != nil {
				return nil, nil, err
			}
			layers, requests = append(layers, l), append(requests, more...)
		case host.LVM:
			if d.Hidden(stack) {
				continue // its volume's layer makes it
			}
			l, more, err := b.volume(target, stack, d)
			if err != nil {
				return nil, nil, err
			}
			layers, requests = append(layers, l), append(requests, more...)
		case host.MD:
			layers = append(layers, mdLayer(d, stack))
			requests = append(requests, d.MD.Requests()...)
		case host.Bcache:
			layers = append(layers, bcacheLayer(d, stack))
			requests = append(requests, d.Bcache.Requests()...)
		}
		for i := range requests[before:] {
			requests[before+i].For = d.Name
		}
	}
	return layers, requests, nil
}

package load

import (
	"fmt"
	"slices"

	"ukdump/internal/builder"
	"ukdump/internal/state"
)

// OmittedOf returns the first target that b omits although the loaded set rec has it, nil
// if none does. Then the loaded set is better than b, and their difference says nothing.
func OmittedOf(rec *state.LoadRecord, b *builder.Build) *builder.OmittedError {
	if rec == nil {
		return nil
	}
	for _, o := range b.Omitted {
		if slices.Contains(rec.Servers, o.Target) {
			return o
		}
	}
	return nil
}

// OmittedProblems returns a problem for each target that b omits. rec is the loaded set, nil
// if that is not known.
func OmittedProblems(rec *state.LoadRecord, b *builder.Build) (list []error) {
	for _, o := range b.Omitted {
		if rec != nil && slices.Contains(rec.Servers, o.Target) {
			list = append(list, fmt.Errorf("target %s: %w", o.Target, o.Err))
			continue
		}
		list = append(list, o)
	}
	return list
}

// omits reports whether b omits a target, and the loaded set rec lacks it too.
func omits(rec *state.LoadRecord, b *builder.Build) bool {
	return rec != nil && len(b.Omitted) > 0 && OmittedOf(rec, b) == nil
}

// omittedHere returns the first target that b omits although the loaded set or the fallback
// set has it, nil if none does. A server that is cut off now can be back by the crash.
func (ld *Loader) omittedHere(b *builder.Build) error {
	if len(b.Omitted) == 0 {
		return nil
	}
	if loaded, err := ld.Slot.Loaded(); err == nil && loaded {
		if o := OmittedOf(ld.Store.Loaded(), b); o != nil {
			return o
		}
	}
	s, _, _, err := ld.Store.Fallback()
	if err != nil {
		return nil
	}
	if o := OmittedOf(&s.LoadRecord, b); o != nil {
		return o
	}
	return nil
}

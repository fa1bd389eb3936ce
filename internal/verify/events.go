package verify

import "ukdump/internal/trigger"

// checkEvents reports which events start the capture kernel. A default that ends no
// machine at an oops is a choice and no problem.
func (v *Run) checkEvents() {
	r := trigger.Read(v.Root)
	if r == nil {
		return
	}
	captured := trigger.Reasons(r.Captured)
	if v.taken {
		v.ok("events", "captured: %s", captured)
	} else {
		v.note("events", "captured once a capture kernel is loaded: %s", captured)
	}
	if len(r.NotCaptured) > 0 {
		v.note("events", "not captured: %s", trigger.Reasons(r.NotCaptured))
	}
	if len(r.Unknown) > 0 {
		v.note("events", "unknown whether captured, as the setting cannot be read: %s", trigger.Reasons(r.Unknown))
	}
	for _, d := range r.Delays {
		v.note("events", "%s", d)
	}
}

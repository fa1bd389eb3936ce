package plan

// Software is the version of ukdump. All programs of one build carry it, and
// the builder refuses to pack a kdumpinit of another one.
const Software = "0.1.0"

// PID 1 says Stamp at its start, so its file contains it, and the builder can
// read the version of a kdumpinit that it cannot run: what follows Marker up to
// the ';'.
const (
	Marker = "this is ukdump version "
	Stamp  = Marker + Software + ";"
)

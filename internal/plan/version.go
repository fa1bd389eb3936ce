package plan

// Software is the version of ukdump. All programs of one build carry it, and
// the builder refuses to pack a kdumpinit of another one.
const Software = "0.1.0"

// PID 1 prints Stamp at its start, so its file contains it. The builder reads the
// version of a kdumpinit that it cannot run: the text from Marker to the ';'.
const (
	Marker = "this is ukdump version "
	Stamp  = Marker + Software + ";"
)

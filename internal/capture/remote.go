package capture

import (
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// remote has the functions that kdumpinit-net adds. In kdumpinit it is nil, and the
// linker leaves out everything behind it.
var remote *remoteFuncs

type remoteFuncs struct {
	// open prepares a target at a server and sets place, as worker.open.
	open func(w *worker, t *plan.Target) bool
	// reopen sets place to that of the last worker and returns true if it was at a server.
	reopen func(w *worker) bool
	// again reports whether the collector of attempt a is to be run again.
	again func(w *worker, a *crashdir.Attempt) bool
	// receipt writes log and report to a local target if the dump is at a server.
	receipt func(w *worker)
	// stall is how long a collector may make no progress.
	stall func(w *worker) time.Duration
	// slow reports whether a collector with this progress is given up for the next target.
	slow func(w *worker, p *pace) bool
	// seal makes place encrypt if the plan says so.
	seal func(w *worker)
}

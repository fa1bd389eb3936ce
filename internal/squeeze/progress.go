package squeeze

import (
	"fmt"
	"io"
	"time"
)

// progress prints the progress as makedumpfile(8) does, at most once a second.
type progress struct {
	w    io.Writer
	last time.Time
}

// print prints that done of all parts are done.
func (p *progress) print(done, all int64, last bool) {
	if p.w == nil || all == 0 {
		return
	}
	now := time.Now()
	if !last && now.Sub(p.last) < time.Second {
		return
	}
	p.last = now
	fmt.Fprintf(p.w, "\r%-50s: [%5.1f %%]", "Copying data", 100*float64(done)/float64(all))
	if last {
		fmt.Fprintln(p.w)
	}
}

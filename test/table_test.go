package test

import (
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// results is the table that test-matrix prints.
type results struct {
	mu    sync.Mutex
	lines map[cell]string
}

func (r *results) add(c cell, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines = make(map[cell]string)
	}
	outcome := "captured"
	if err != nil {
		outcome = "FAILED: " + strings.SplitN(err.Error(), "\n", 2)[0]
	}
	how := "kdumpctl"
	if c.service {
		how = "service"
	}
	r.lines[c] = fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%.0f\t%s", c.suite, c.flavour, c.layout, c.bus, how, took.Seconds(), outcome)
	fmt.Printf("    %s: %s (%.0f s)\n", c, outcome, took.Seconds())
}

// String returns the table in the order of cells.
func (r *results) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SUITE\tKERNEL\t/var/crash\tBUS\tLOADED BY\tSECONDS\tRESULT")
	for _, c := range cells {
		if line, ok := r.lines[c]; ok {
			fmt.Fprintln(w, line)
		}
	}
	w.Flush()
	return b.String()
}

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

// add adds the result of a cell; message is kdumpctl's if it had to refuse.
func (r *results) add(c cell, took time.Duration, message string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines = make(map[cell]string)
	}
	outcome := "captured"
	switch {
	case err != nil:
		outcome = "FAILED: " + strings.SplitN(err.Error(), "\n", 2)[0]
	case c.refused != "":
		outcome = "refused: " + strings.ReplaceAll(message, "\n", " ")
	}
	how, l, capture, kernel := "kdumpctl", layouts[c.layout], c.capture, string(c.flavour)
	if c.service {
		how = "service"
	}
	if c.running != "" {
		kernel = c.running
	}
	if capture == "" {
		capture = "the same"
	}
	r.lines[c] = strings.Join([]string{l.fs, l.stack, string(c.bus), c.suite + " " + kernel, capture, how,
		fmt.Sprintf("%.0f", took.Seconds()), outcome}, "\t")
	fmt.Printf("    %s: %s (%.0f s)\n", c, outcome, took.Seconds())
}

// String returns the table in the order of cells.
func (r *results) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "FILE SYSTEM\tSTACK\tCONTROLLER\tKERNEL\tCAPTURED BY\tLOADED BY\tSECONDS\tRESULT")
	for _, c := range cells {
		if line, ok := r.lines[c]; ok {
			fmt.Fprintln(w, line)
		}
	}
	w.Flush()
	return b.String()
}

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// A pair is one frame of both, or of one with the other nil.
type pair struct{ own, ref *frame }

// function returns a name without the suffix of a part or a clone that the compiler
// made.
func function(name string) string {
	base, _, _ := strings.Cut(name, ".")
	return base
}

// same reports whether two frames are the same place of the stack.
func same(a, b frame) bool {
	return a.pc == b.pc || a.name != "" && function(a.name) == function(b.name)
}

// align pairs the frames that are the same by the longest common subsequence; of those
// that differ between two common ones, the first with the first and so on.
func align(own, ref []frame) []pair {
	length := make([][]int, len(own)+1)
	for i := range length {
		length[i] = make([]int, len(ref)+1)
	}
	for i := len(own) - 1; i >= 0; i-- {
		for j := len(ref) - 1; j >= 0; j-- {
			if same(own[i], ref[j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out []pair
	i, j, gapI, gapJ := 0, 0, 0, 0
	gap := func() {
		for gapI < i || gapJ < j {
			var p pair
			if gapI < i {
				p.own = &own[gapI]
				gapI++
			}
			if gapJ < j {
				p.ref = &ref[gapJ]
				gapJ++
			}
			out = append(out, p)
		}
	}
	for i < len(own) && j < len(ref) {
		switch {
		case same(own[i], ref[j]):
			gap()
			out = append(out, pair{&own[i], &ref[j]})
			i, j = i+1, j+1
			gapI, gapJ = i, j
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	i, j = len(own), len(ref)
	gap()
	return out
}

// A result is the comparison with one reference.
type result struct {
	name                            string
	tasks, onlyOwnTask, onlyRefTask int
	both, equal, place              int // frames that both name, with the same name, and with the same address
	labels                          int // same address, and our name is a symbol that vmlinux has there
	unmarked                        int // of ours, among the tasks compared
	contradicts                     int // frames of ours without a mark that the reference denies
	confirmed                       int // of these, those that the other reference has
	ownBroken, refBroken, allBroken int // stacks that are not complete: ours, theirs, of both
	unlisted, registers             int // drgn's, as in type task
	skipped                         int // frames of the reference between two common ones that we lack
	onlyOwn, onlyRef                int // further frames at one of the ends
	guessed                         int // frames of ours with a mark that only we have
	labelNames                      map[string]int
	notes                           []note
}

// A note is a task with a difference.
type note struct {
	own, ref task
	pairs    []pair
	reasons  []string
}

// compareTasks compares the stacks of all tasks that both have.
func compareTasks(name string, ours, ref, other map[uint64]task, labels elfSymbols) *result {
	r := &result{name: name, labelNames: make(map[string]int)}
	var addrs []uint64
	for addr, t := range ours {
		if _, ok := ref[addr]; !ok {
			r.onlyOwnTask++
			r.notes = append(r.notes, note{own: t, reasons: []string{r.name + " does not have this task"}})
			continue
		}
		addrs = append(addrs, addr)
	}
	for addr, t := range ref {
		if _, ok := ours[addr]; !ok {
			r.onlyRefTask++
			r.notes = append(r.notes, note{ref: t, reasons: []string{"only " + r.name + " has this task"}})
		}
	}
	slices.Sort(addrs)
	for _, addr := range addrs {
		r.tasks++
		r.compare(ours[addr], ref[addr], other[addr], labels)
	}
	return r
}

func (r *result) compare(own, ref, other task, labels elfSymbols) {
	pairs := align(own.frames, ref.frames)
	first, last := len(pairs), -1 // the frames that are common
	for i, p := range pairs {
		if p.own != nil && p.ref != nil && same(*p.own, *p.ref) {
			first, last = min(first, i), i
		}
	}
	for _, b := range []struct {
		count *int
		is    bool
	}{{&r.ownBroken, own.broken}, {&r.refBroken, ref.broken}, {&r.allBroken, own.broken && ref.broken}, {&r.unlisted, ref.unlisted}, {&r.registers, ref.registers}} {
		if b.is {
			*b.count++
		}
	}
	n := note{own: own, ref: ref, pairs: pairs}
	for i, p := range pairs {
		if p.own != nil && !p.own.guess {
			r.unmarked++
		}
		switch {
		case p.own == nil && i > first && i < last:
			r.skipped++
			n.add("ours skips %s", p.ref)
		case p.own == nil:
			r.onlyRef++
			n.add("only %s: %s", r.name, p.ref)
		case p.ref == nil && p.own.guess:
			r.guessed++
		case p.ref == nil:
			r.onlyOwn++
			if i < last {
				r.contradict(p.own, other)
				n.add("%s skips %s", r.name, p.own)
			} else {
				n.add("%s ends before %s", r.name, p.own)
			}
		case p.own.name == "" || p.ref.name == "":
			n.add("no name: ours %s, %s", p.own, p.ref)
		default:
			r.both++
			if p.own.pc == p.ref.pc {
				r.place++
			}
			if function(p.own.name) == function(p.ref.name) {
				r.equal++
				if p.own.pc != p.ref.pc {
					n.add("another address: ours %s, %s %s", p.own, r.name, p.ref)
				}
				continue
			}
			if p.own.pc == p.ref.pc && labels.has(p.own.name, p.own.start) {
				r.labels++
				r.labelNames[p.own.name+" for "+p.ref.name]++
				continue
			}
			if !p.own.guess {
				r.contradict(p.own, other)
			}
			n.add("ours %s, %s %s", p.own, r.name, p.ref)
		}
	}
	if len(n.reasons) > 0 || own.broken || ref.broken {
		r.notes = append(r.notes, n)
	}
}

// contradict counts a frame that the reference denies.
func (r *result) contradict(f *frame, other task) {
	r.contradicts++
	if slices.ContainsFunc(other.frames, func(o frame) bool { return o.pc == f.pc && function(o.name) == function(f.name) }) {
		r.confirmed++
	}
}

func (n *note) add(format string, args ...any) {
	n.reasons = append(n.reasons, fmt.Sprintf(format, args...))
}

func (f *frame) String() string {
	if f == nil {
		return "-"
	}
	text := fmt.Sprintf("%s (%#x)", f.name, f.pc)
	if f.guess {
		text = "? " + text
	}
	return text
}

func printTable(w io.Writer, results []*result) {
	head := []string{"", "tasks", "our frames without a mark", "named by both", "equal names", "same address, another label",
		"same address", "contradicted", "of these confirmed by the other tool", "skipped by us", "only ours", "only theirs", "our guesses beyond"}
	fmt.Fprintf(w, "| %s |\n%s|\n", strings.Join(head, " | "), strings.Repeat("|---", len(head)))
	for _, r := range results {
		fmt.Fprintf(w, "| %s | %d | %d | %d | %.1f %% | %d | %.1f %% | %d | %d | %d | %d | %d | %d |\n",
			r.name, r.tasks, r.unmarked, r.both, percent(r.equal, r.both), r.labels, percent(r.place, r.both),
			r.contradicts, r.confirmed, r.skipped, r.onlyOwn, r.onlyRef, r.guessed)
	}
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// print lists the differences.
func (r *result) print(w io.Writer, verbose bool) {
	fmt.Fprintf(w, "\n%s: %d tasks only ours, %d only theirs, %d not listed by it\n", r.name, r.onlyOwnTask, r.onlyRefTask, r.unlisted)
	fmt.Fprintf(w, "  incomplete stacks: %d ours, %d theirs (%d with registers given), %d of both\n", r.ownBroken, r.refBroken, r.registers, r.allBroken)
	for _, names := range slices.Sorted(maps.Keys(r.labelNames)) {
		fmt.Fprintf(w, "  another label: %s (%d)\n", names, r.labelNames[names])
	}
	for _, n := range r.notes {
		t := n.own
		if t.addr == 0 {
			t = n.ref
		}
		fmt.Fprintf(w, "  %d %s (%#x), ours ends: %q, theirs: %q\n", t.pid, t.comm, t.addr, n.own.end, n.ref.end)
		for _, reason := range n.reasons {
			fmt.Fprintln(w, "    "+reason)
		}
		for _, p := range n.pairs {
			if verbose {
				fmt.Fprintf(w, "      %-50s %s\n", p.own, p.ref)
			}
		}
	}
}

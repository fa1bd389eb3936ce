package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Limits of a page, so that a report of a large machine stays below 300 KB. The page tells the
// numbers of the elements that are left out.
const (
	pageUnfolded    = 10 // CPUs and tasks, the others are folded once more
	pageCPUs        = 128
	pageBlocked     = 100
	pageFrames      = 500 // of all CPUs, and again of all blocked tasks
	pageStackFrames = 64
	pageRows        = 40 // of a table of memory
	pageMounts      = 150
	pageModules     = 250
	pageDisks       = 60 // without requests
	pageBusy        = 30 // disks with requests
	pageRequests    = 8  // of one disk
	pageLines       = 60
	pageProblems    = 100
)

// Limits of texts in characters.
const (
	pageName = 80
	pageLine = 300
)

//go:embed page
var pageFiles embed.FS

// pageTemplate is parsed at the first use: other verbs do not pay for it.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page.html").Funcs(template.FuncMap{
		"show":    func(s string) string { return visible(s, pageLine) },
		"name":    func(s string) string { return visible(s, pageName) },
		"long":    func(s string) string { return visible(s, maxText) },
		"bytes":   bytesOf,
		"size":    size,
		"seconds": seconds,
		"count":   count,
		"plural":  plural,
		"task":    pageTask,
		"wait":    func(w Wait) string { return visible(w.String(), pageLine) },
		"bar":     bar,
	}).ParseFS(pageFiles, "page/*.html", "page/*.css"))
})

// WriteHTML writes the report as one page for a browser. It has no script and loads nothing, and
// the same report gives the same bytes.
func (r *Report) WriteHTML(w io.Writer) error {
	return pageTemplate().Execute(w, newPage(r))
}

// page is a report as the template needs it: lists have their limits, and quantities have
// positions.
type page struct {
	*Report
	Heading  string
	When     string
	Parts    []pagePart
	Problems shownList[Problem]
	CPUs     shownList[pageCPU]
	Idle     string
	Blocked  shownList[pageBlockedTask]
	States   []pageState
	Memory   *pageMemory
	Log      pageLog
	Disks    pageDiskList
	Mounts   shownList[Mount]
	Modules  shownList[Module]
}

// A pagePart is an entry of the navigation.
type pagePart struct {
	ID, Name, Value string
	Alert           bool
}

// A shownList has the elements that are shown.
type shownList[T any] struct {
	Known   bool
	Items   []T
	Omitted int
}

// Unfolded returns the elements that are always visible, Folded the others.
func (l shownList[T]) Unfolded() []T { return l.Items[:min(len(l.Items), pageUnfolded)] }

// Folded returns the elements behind those of Unfolded.
func (l shownList[T]) Folded() []T { return l.Items[min(len(l.Items), pageUnfolded):] }

// firstOnes returns the first elements of a list.
func firstOnes[T any](all []T, limit int) shownList[T] {
	n := min(len(all), limit)
	return shownList[T]{Known: all != nil, Items: all[:n], Omitted: len(all) - n}
}

func newPage(r *Report) *page {
	p := &page{
		Report:   r,
		Heading:  visible(firstOf(r.Crash.Panic, r.Crash.Cause, "A crash, of which the log does not tell the reason"), pageLine),
		Problems: firstOnes(r.Problems, pageProblems),
		Memory:   newPageMemory(r.Memory),
		Log:      newPageLog(r.Log),
		Disks:    newPageDisks(r.Disks),
		Mounts:   firstOnes(r.Mounts, pageMounts),
		Modules:  firstOnes(r.Kernel.Modules, pageModules),
	}
	if r.Crash.Time != nil {
		p.When = r.Crash.Time.UTC().Format(time.RFC1123)
	}
	p.cpus(r.CPUs)
	p.tasks(r.Tasks)
	p.Parts = p.parts()
	return p
}

// parts returns the navigation, which is also the summary of the report.
func (p *page) parts() []pagePart {
	const unknown = "not known"
	log, tasks, memory, disks := unknown, unknown, unknown, unknown
	if p.Report.Log != nil {
		log = plural(len(p.Report.Log), "line", "lines")
	}
	blocked := 0
	if t := p.Report.Tasks; t != nil {
		blocked = len(t.Blocked) + t.Omitted
		tasks = fmt.Sprintf("%d blocked of %d", blocked, t.Total)
	}
	if m := p.Report.Memory; m != nil && m.Free != nil {
		memory = bytesOf(*m.Free) + " free"
		if m.Total != nil {
			memory += " of " + bytesOf(*m.Total)
		}
	}
	if p.Report.Disks != nil {
		disks = "no request in flight"
		if p.Disks.InFlight > 0 {
			disks = fmt.Sprintf("%d in flight", p.Disks.InFlight)
		}
		if p.Disks.Oldest > 0 {
			disks += ", oldest " + seconds(&p.Disks.Oldest)
		}
	}
	kernel := "not tainted"
	if p.Kernel.Taints == nil {
		kernel = unknown
	}
	if len(p.Kernel.Taints) > 0 {
		kernel = "tainted "
		for _, t := range p.Kernel.Taints {
			kernel += t.Letter
		}
	}
	return []pagePart{
		{"stacks", "Stacks", howMany(p.Report.CPUs == nil, len(p.Report.CPUs), "CPU", "CPUs"), false},
		{"log", "Log", log, false},
		{"tasks", "Tasks", tasks, blocked > 0},
		{"memory", "Memory", memory, false},
		{"disks", "Disks", disks, p.Disks.Oldest >= stuckSeconds},
		{"kernel", "Kernel", visible(kernel, pageName), false},
		{"mounts", "Mounts", howMany(p.Report.Mounts == nil, len(p.Report.Mounts), "mount", "mounts"), false},
		{"modules", "Modules", howMany(p.Kernel.Modules == nil, len(p.Kernel.Modules), "module", "modules"), false},
	}
}

func howMany(unknown bool, n int, one, many string) string {
	if unknown {
		return "not known"
	}
	return plural(n, one, many)
}

// pageTask returns the name of a task.
func pageTask(t TaskID) string {
	if t.Comm != "" {
		t.Comm = visible(t.Comm, pageName)
	}
	return taskName(t)
}

// bar is a part of a width, in per cent with two digits, for an attribute of SVG.
func bar(part, whole float64) string {
	p := 100 * part / whole
	if math.IsNaN(p) {
		p = 0
	}
	return strconv.FormatFloat(math.Round(100*min(max(p, 0), 100))/100, 'f', -1, 64)
}

// visible returns at most limit characters of a text of the dump. Characters that a reader cannot
// see, or that move others, are replaced by their code points: controls, changes of the direction
// of writing, and those without a width.
func visible(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > limit {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == '\u2800': // a blank of Braille
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// ranges prints numbers in order, such as "0, 2-7".
func ranges(numbers []int) string {
	var parts []string
	for len(numbers) > 0 {
		n := 1
		for n < len(numbers) && numbers[n] == numbers[0]+n {
			n++
		}
		if n > 2 {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[0], numbers[n-1]))
		} else {
			n = 1
			parts = append(parts, strconv.Itoa(numbers[0]))
		}
		numbers = numbers[n:]
	}
	const most = 100
	if len(parts) > most {
		parts = append(slices.Clone(parts[:most]), fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, ", ")
}

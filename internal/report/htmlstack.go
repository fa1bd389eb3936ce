package report

import (
	"fmt"
	"strconv"
	"strings"
)

// hungSeconds is the time after which the kernel calls a task in uninterruptible sleep hung, by
// default: CONFIG_DEFAULT_HUNG_TASK_TIMEOUT, lib/Kconfig.debug.
const hungSeconds = 120

type pageCPU struct {
	CPU
	Stack *pageStack
}

type pageBlockedTask struct {
	Task
	Stack *pageStack
	Hung  bool
}

type pageState struct {
	StateCount
	Width string
}

// A pageStack is a stack as it is shown.
type pageStack struct {
	ID      string
	Method  string
	Rows    []pageFrame
	Omitted int
	End     string
	// SameID and SameName are those of an equal stack that is shown before.
	SameID, SameName string
	// TooMany is true if the stack is left out to keep the page small.
	TooMany bool
}

// A pageFrame is a frame, or a line about the stack that the next frames are on.
type pageFrame struct {
	Switch                   string
	Function, Offset, Module string
	Guess, Interrupted       bool
}

// stackPrinter shows stacks, equal ones once.
type stackPrinter struct {
	prefix string
	frames int // that may be shown still
	seen   map[string]*pageStack
	number int
}

func newStackPrinter(prefix string) *stackPrinter {
	return &stackPrinter{prefix: prefix, frames: pageFrames, seen: map[string]*pageStack{}}
}

// add returns the stack of a task or CPU with a name.
func (p *stackPrinter) add(s *Stack, name string) *pageStack {
	if s == nil {
		return nil
	}
	p.number++
	shown := &pageStack{ID: p.prefix + strconv.Itoa(p.number), Method: visible(s.Method, pageName), SameName: name}
	frames := s.Frames[:min(len(s.Frames), pageStackFrames)]
	shown.Omitted = s.Omitted + len(s.Frames) - len(frames)
	if !s.Complete {
		shown.End = visible(firstOf(s.End, "reason not known"), pageLine)
	}
	on := ""
	var key strings.Builder
	for i, f := range frames {
		if f.Stack != on {
			on = f.Stack
			shown.Rows = append(shown.Rows, pageFrame{Switch: visible(firstOf(on, "task"), pageName)})
		}
		row := pageFrame{Function: visible(f.Function, pageLine), Module: visible(f.Module, pageName), Guess: !f.Reliable, Interrupted: f.Interrupted && i > 0}
		switch {
		case f.Function == "":
			row.Function = f.Address.String()
		case f.Size > 0:
			row.Offset = fmt.Sprintf("+%#x/%#x", f.Offset, f.Size)
		default:
			row.Offset = fmt.Sprintf("+%#x", f.Offset)
		}
		shown.Rows = append(shown.Rows, row)
		fmt.Fprintf(&key, "%q %q %t\n", f.String(), f.Stack, f.Interrupted)
	}
	fmt.Fprintf(&key, "%s %s %d", shown.Method, shown.End, shown.Omitted)
	if same := p.seen[key.String()]; same != nil && len(frames) > 2 {
		return &pageStack{SameID: same.ID, SameName: same.SameName}
	}
	if p.frames -= len(frames); p.frames < 0 {
		return &pageStack{TooMany: true}
	}
	p.seen[key.String()] = shown
	return shown
}

func (p *page) cpus(all []CPU) {
	var idle []int
	var shown []pageCPU
	stacks := newStackPrinter("c")
	for _, c := range all {
		if c.Idle && !c.Panicked {
			idle = append(idle, c.Number)
			continue
		}
		if len(shown) == pageCPUs {
			p.CPUs.Omitted++
			continue
		}
		shown = append(shown, pageCPU{c, stacks.add(c.Stack, fmt.Sprintf("CPU %d", c.Number))})
	}
	p.CPUs.Known, p.CPUs.Items = all != nil, shown
	switch len(idle) {
	case 0:
	case 1:
		p.Idle = "CPU " + ranges(idle) + " idle"
	default:
		p.Idle = "CPUs " + ranges(idle) + " idle"
	}
}

func (p *page) tasks(t *Tasks) {
	if t == nil {
		return
	}
	most := 0
	for _, s := range t.States {
		most = max(most, s.Count)
	}
	for _, s := range t.States[:min(len(t.States), pageRows)] {
		p.States = append(p.States, pageState{s, bar(float64(s.Count), float64(most))})
	}
	stacks := newStackPrinter("t")
	shown := firstOnes(t.Blocked, pageBlocked)
	for _, b := range shown.Items {
		hung := b.BlockedSeconds != nil && *b.BlockedSeconds >= hungSeconds
		p.Blocked.Items = append(p.Blocked.Items, pageBlockedTask{b, stacks.add(b.Stack, pageTask(b.TaskID)), hung})
	}
	p.Blocked.Omitted = shown.Omitted + t.Omitted
}

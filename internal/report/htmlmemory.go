package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// stuckSeconds is the time after which most drivers give up a request, 30 * HZ by default:
// blk_mq_init_allocated_queue, block/blk-mq.c. slowSeconds is long for any disk.
const (
	stuckSeconds = 30
	slowSeconds  = 1
)

// pageMemory is the use of the memory with widths of bars in per cent.
type pageMemory struct {
	*Memory
	Parts     []pageUse // of the bar of the whole memory
	Label     string    // of that bar, for those who do not see it
	Uses      []pageUse
	Zones     shownList[pageZone]
	Slabs     shownList[pageSlab]
	Processes shownList[pageProcess]
	HugePages shownList[HugePages]
}

// A pageUse is a use of memory.
type pageUse struct {
	Name, Size, Share string
	Class             string // of the colour, "" for a part of another use
	Start, Width      string
}

type pageZone struct {
	Zone
	Used, MinAt, LowAt, HighAt string
	Short                      bool
}

type pageSlab struct {
	Slab
	Width string
}

type pageProcess struct {
	Process
	Width, AnonWidth string
}

func newPageMemory(m *Memory) *pageMemory {
	if m == nil {
		return nil
	}
	p := &pageMemory{Memory: m, HugePages: firstOnes(m.HugePages, pageRows)}
	p.uses(m)
	zones := firstOnes(m.Zones, pageRows)
	p.Zones.Omitted = zones.Omitted
	for _, z := range zones.Items {
		whole := float64(z.Managed)
		p.Zones.Items = append(p.Zones.Items, pageZone{z, bar(whole-float64(z.Free), whole),
			bar(whole-float64(z.Min), whole), bar(whole-float64(z.Low), whole), bar(whole-float64(z.High), whole),
			z.Managed > 0 && z.Free < z.Min})
	}
	slabs := firstOnes(m.Slabs, pageRows)
	p.Slabs.Omitted = slabs.Omitted
	for _, s := range slabs.Items {
		p.Slabs.Items = append(p.Slabs.Items, pageSlab{s, bar(float64(s.Bytes), float64(m.Slabs[0].Bytes))})
	}
	users := firstOnes(m.Processes, pageRows)
	p.Processes.Omitted = users.Omitted
	for _, u := range users.Items {
		whole := float64(m.Processes[0].RSS)
		p.Processes.Items = append(p.Processes.Items, pageProcess{u, bar(float64(u.RSS), whole), bar(min(float64(u.Anon), float64(u.RSS)), whole)})
	}
	return p
}

// uses makes the table of uses and the bar. The uses that have a class do not overlap.
func (p *pageMemory) uses(m *Memory) {
	all := []struct {
		name  string
		bytes *uint64
		class string
	}{
		{"free", m.Free, "free"},
		{"page cache", m.PageCache, "cache"},
		{"of it dirty", m.Dirty, ""}, {"of it in writeback", m.Writeback, ""},
		{"anonymous", m.Anonymous, "anon"}, {"shared", m.Shmem, "shmem"},
		{"slab", sum(m.SlabReclaimable, m.SlabFixed), "slab"}, {"of it reclaimable", m.SlabReclaimable, ""},
		{"kernel stacks", m.Stacks, "stacks"}, {"page tables", m.PageTables, "tables"},
	}
	known, rest := 0.0, "other"
	for _, u := range all {
		if u.bytes != nil && u.class != "" {
			known += float64(*u.bytes)
		}
		if u.bytes == nil && u.class != "" {
			rest = "other or not known"
		}
	}
	whole := known
	if m.Total != nil {
		whole = max(known, float64(*m.Total))
	}
	at := 0.0
	add := func(name, class, size string, n float64) {
		u := pageUse{Name: name, Class: class, Size: size, Start: bar(at, whole), Width: bar(n, whole)}
		if m.Total != nil && whole > 0 {
			u.Share = fmt.Sprintf("%.0f %%", 100*n/whole)
			if n > 0 && n/whole < 0.005 {
				u.Share = "< 1 %"
			}
		}
		if class != "" {
			at += n
			p.Parts = append(p.Parts, u)
		}
		p.Uses = append(p.Uses, u)
	}
	for _, u := range all {
		if u.bytes == nil {
			p.Uses = append(p.Uses, pageUse{Name: u.name, Size: "not known", Class: u.class})
			continue
		}
		add(u.name, u.class, bytesOf(*u.bytes), float64(*u.bytes))
	}
	if n := whole - known; m.Total != nil && n >= 1 {
		add(rest, "other", bytesOf(uint64(min(n, math.MaxInt64/2))), n)
	}
	if m.Total == nil {
		p.Parts = nil // shares of a part would look like shares of the whole
	}
	var label []string
	for _, u := range p.Parts {
		label = append(label, u.Name+" "+u.Share)
	}
	p.Label = "Use of the memory: " + strings.Join(label, ", ")
}

// pageDiskList is the list of disks, those with requests first.
type pageDiskList struct {
	shownList[pageDisk]
	Quiet    shownList[Disk] // without requests
	InFlight int
	Oldest   float64 // age of the oldest request in seconds
}

type pageDisk struct {
	Disk
	Requests shownList[pageRequest]
	InFlight int
}

type pageRequest struct {
	Request
	Stuck, Slow bool
	Width       string // of the bar of its age
}

func newPageDisks(all []Disk) pageDiskList {
	p := pageDiskList{}
	p.Known = all != nil
	for _, d := range all {
		for _, q := range d.Requests {
			if q.AgeSeconds != nil {
				p.Oldest = max(p.Oldest, *q.AgeSeconds)
			}
		}
		p.InFlight += len(d.Requests) + d.Omitted
	}
	busy := slices.DeleteFunc(slices.Clone(all), func(d Disk) bool { return len(d.Requests)+d.Omitted == 0 })
	quiet := slices.DeleteFunc(slices.Clone(all), func(d Disk) bool { return len(d.Requests)+d.Omitted != 0 })
	p.Quiet = firstOnes(quiet, pageDisks)
	shown := firstOnes(busy, pageBusy)
	p.Omitted = shown.Omitted
	for _, d := range shown.Items {
		requests := firstOnes(d.Requests, pageRequests)
		disk := pageDisk{Disk: d, InFlight: len(d.Requests) + d.Omitted}
		disk.Requests.Omitted = requests.Omitted + d.Omitted
		for _, q := range requests.Items {
			age := 0.0
			if q.AgeSeconds != nil {
				age = *q.AgeSeconds
			}
			disk.Requests.Items = append(disk.Requests.Items, pageRequest{q, age >= stuckSeconds, age >= slowSeconds && age < stuckSeconds, bar(age, p.Oldest)})
		}
		p.Items = append(p.Items, disk)
	}
	return p
}

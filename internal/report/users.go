package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const (
	maxUsers  = 10      // slab caches and processes in a report
	maxCaches = 1 << 16 // caches that are read; each memory cgroup had its own before 5.9
)

// slabs reads the caches of SLUB (mm/slub.c) that take the most memory.
func (m *maker) slabs(u *Memory) error {
	head, err := m.k.Lookup("slab_caches")
	if err != nil {
		return err
	}
	if !m.types.HasField("kmem_cache_node", "nr_slabs") {
		return errors.New("the kernel does not count slabs (CONFIG_SLUB_DEBUG)")
	}
	nodes, err := m.nodes()
	if err != nil {
		return err
	}
	member := "node[%d]"
	if m.types.HasField("kmem_cache", "per_node") { // since 7.0
		member = "per_node[%d].node"
	}
	list, failed := m.k.List(head, "kmem_cache", "list", maxCaches)
	all := []Slab{}
	for _, at := range list {
		s, err := m.slab(at, nodes, member)
		if err != nil {
			failed = err
			continue
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b Slab) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return keep(&u.Slabs, all[:min(len(all), maxUsers)], failed)
}

// slab reads a cache. The number of pages of a slab is in the upper half of oo, as a power of 2.
func (m *maker) slab(at uint64, nodes []uint64, member string) (s Slab, err error) {
	name, err := m.k.Value(at, "kmem_cache", "name")
	if err != nil {
		return s, err
	}
	if s.Name, err = m.k.String(name, maxName); err != nil {
		return s, err
	}
	if s.ObjectBytes, err = m.k.Value(at, "kmem_cache", "object_size"); err != nil {
		return s, err
	}
	oo, err := m.k.Value(at, "kmem_cache", "oo.x")
	if err != nil {
		return s, err
	}
	for i, node := range nodes {
		if node == 0 {
			continue
		}
		n, err := m.k.Value(at, "kmem_cache", fmt.Sprintf(member, i))
		if err != nil {
			return s, err
		}
		if n == 0 {
			continue
		}
		slabs, err := m.k.Value(n, "kmem_cache_node", "nr_slabs")
		if err != nil {
			return s, err
		}
		s.Bytes += m.pages(min(slabs, 1<<40) << min(oo>>16, 16))
		s.Objects += m.field(n, "kmem_cache_node", "total_objects")
	}
	return s, nil
}

// processes reads the processes that take the most memory. The counters of a process have a
// part for each CPU since 6.2; the parts are read of the largest only.
func (m *maker) processes(u *Memory) error {
	if m.r.Tasks == nil {
		return errors.New("the tasks are not known")
	}
	read, err := m.rssReader()
	if err != nil {
		return err
	}
	type user struct {
		t   *task
		mm  uint64
		rss uint64
	}
	var all []user
	var failed error
	for i := range m.all {
		t := &m.all[i]
		if t.id.PID != t.id.TGID {
			continue
		}
		mm, err := m.k.Value(t.addr, "task_struct", "mm")
		if err != nil {
			failed = err
		}
		if err != nil || mm == 0 {
			continue
		}
		p, err := read(mm, false)
		if err != nil {
			failed = err
			continue
		}
		all = append(all, user{t, mm, p.RSS})
	}
	slices.SortStableFunc(all, func(a, b user) int { return cmp.Compare(b.rss, a.rss) })
	exact := []Process{}
	for _, a := range all[:min(len(all), maxExact)] {
		p, err := read(a.mm, true)
		if err != nil {
			failed = err
			continue
		}
		p.TaskID = a.t.id
		exact = append(exact, p)
	}
	slices.SortStableFunc(exact, func(a, b Process) int { return cmp.Compare(b.RSS, a.RSS) })
	return keep(&u.Processes, exact[:min(len(exact), maxUsers)], failed)
}

// maxExact is the number of processes of which the parts of all CPUs are read.
const maxExact = 100

// rssReader returns a function that reads the memory of a process from its mm_struct, with the
// parts of all CPUs if exact.
func (m *maker) rssReader() (func(mm uint64, exact bool) (Process, error), error) {
	var index [4]uint64 // include/linux/mm_types_task.h
	for i, name := range []string{"MM_FILEPAGES", "MM_ANONPAGES", "MM_SWAPENTS", "MM_SHMEMPAGES"} {
		n, err := m.enum("", name)
		if err != nil {
			return nil, err
		}
		index[i] = n
	}
	percpu := m.types.HasField("mm_struct", "rss_stat[0].count")
	if !percpu && !m.types.HasField("mm_struct", "rss_stat.count") {
		return nil, errors.New("mm_struct.rss_stat has an unknown type")
	}
	cpus, err := m.present()
	if err != nil {
		return nil, err
	}
	return func(mm uint64, exact bool) (p Process, err error) {
		var v [4]uint64
		for i, n := range index {
			if !percpu {
				if v[i], err = m.k.Value(mm, "mm_struct", fmt.Sprintf("rss_stat.count[%d]", n)); err != nil {
					return p, err
				}
				v[i] = m.pages(v[i])
				continue
			}
			path := fmt.Sprintf("rss_stat[%d]", n)
			sum, err := m.k.Value(mm, "mm_struct", path+".count")
			if err != nil {
				return p, err
			}
			if exact {
				parts, err := m.k.Value(mm, "mm_struct", path+".counters")
				if err != nil {
					return p, err
				}
				for _, cpu := range cpus {
					at, err := m.k.PerCPUAddr(parts, cpu)
					if err != nil {
						return p, err
					}
					part, err := m.k.U32(at)
					if err != nil {
						return p, err
					}
					sum += uint64(int64(int32(part)))
				}
			}
			v[i] = m.pages(sum)
		}
		p.RSS, p.Anon, p.Swap = v[0]+v[1]+v[3], v[1], v[2]
		return p, nil
	}, nil
}

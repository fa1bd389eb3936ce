package report

import (
	"errors"
	"fmt"
	"strconv"
)

// Bounds on lists of the kernel.
const (
	maxNodes  = 1024 // MAX_NUMNODES with the largest CONFIG_NODES_SHIFT
	maxZones  = 16
	maxHstate = 16
)

// memory reads the use of the memory.
func (m *maker) memory() {
	u := &Memory{Total: m.r.Machine.MemoryBytes}
	m.r.Memory = u
	m.step("memory", func() error { return m.counters(u) })
	m.step("zones", func() error { return m.zones(u) })
	m.step("slab caches", func() error { return m.slabs(u) })
	m.step("processes", func() error { return m.processes(u) })
	m.step("huge pages", func() error { return m.hugePages(u) })
}

// counters reads the counters of the whole machine: vm_zone_stat and vm_node_stat of
// mm/vmstat.c, in pages. Each CPU has a small part that it has not added yet.
func (m *maker) counters(u *Memory) error {
	zone, err := m.k.Lookup("vm_zone_stat")
	if err != nil {
		return err
	}
	node, err := m.k.Lookup("vm_node_stat")
	if err != nil {
		return err
	}
	var failed error
	read := func(base uint64, enum, name string) *uint64 {
		i, err := m.enum(enum, name)
		if err == nil {
			var v uint64
			if v, err = m.k.U64(base + 8*i); err == nil {
				v = m.pages(v)
				return &v
			}
		}
		failed = err
		return nil
	}
	u.Free = read(zone, "zone_stat_item", "NR_FREE_PAGES")
	for _, c := range []struct {
		to   **uint64
		name string
	}{
		{&u.Anonymous, "NR_ANON_MAPPED"}, {&u.Shmem, "NR_SHMEM"},
		{&u.SlabReclaimable, "NR_SLAB_RECLAIMABLE_B"}, {&u.SlabFixed, "NR_SLAB_UNRECLAIMABLE_B"},
		{&u.PageTables, "NR_PAGETABLE"}, {&u.Dirty, "NR_FILE_DIRTY"}, {&u.Writeback, "NR_WRITEBACK"},
	} {
		*c.to = read(node, "node_stat_item", c.name)
	}
	// Kernel stacks are counted in KiB.
	if v := read(node, "node_stat_item", "NR_KERNEL_STACK_KB"); v != nil {
		*v = *v / uint64(m.d.PageSize()) * 1024
		u.Stacks = v
	}
	if files := read(node, "node_stat_item", "NR_FILE_PAGES"); files != nil && u.Shmem != nil {
		n := *files - min(*files, *u.Shmem)
		if _, err := m.enum("node_stat_item", "NR_SWAPCACHE"); err == nil {
			if swap := read(node, "node_stat_item", "NR_SWAPCACHE"); swap != nil {
				n -= min(n, *swap)
			}
		}
		u.PageCache = &n
	}
	return failed
}

// nodes returns the addresses of the structures pglist_data, 0 for a node that is not there.
func (m *maker) nodes() ([]uint64, error) {
	if at, err := m.k.Lookup("contig_page_data"); err == nil { // without CONFIG_NUMA
		return []uint64{at}, nil
	}
	table, err := m.k.Lookup("node_data")
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(m.d.Info().Get("LENGTH(node_data)"))
	if err != nil {
		return nil, errors.New("VMCOREINFO has no LENGTH(node_data)")
	}
	list := make([]uint64, min(max(n, 0), maxNodes))
	for i := range list {
		if list[i], err = m.k.Pointer(table + 8*uint64(i)); err != nil {
			return list, err
		}
	}
	return list, nil
}

// zones reads the zones with memory.
func (m *maker) zones(u *Memory) error {
	nodes, err := m.nodes()
	if err != nil {
		return err
	}
	array, err := m.types.Field("pglist_data", "node_zones")
	if err != nil {
		return err
	}
	size, err := m.types.Size("zone")
	if err != nil {
		return err
	}
	u.Zones = []Zone{}
	for node, at := range nodes {
		if at == 0 {
			continue
		}
		for i := range uint64(min(array.Len, maxZones)) {
			z, err := m.zone(at + array.Offset + i*size)
			if err != nil {
				return err
			}
			if z.Node = node; z.Managed > 0 {
				u.Zones = append(u.Zones, z)
			}
		}
	}
	return nil
}

// zone reads a zone: include/linux/mmzone.h.
func (m *maker) zone(at uint64) (z Zone, err error) {
	managed, err := m.k.Value(at, "zone", "managed_pages")
	if z.Managed = m.pages(managed); err != nil || z.Managed == 0 {
		return z, err
	}
	name, err := m.k.Value(at, "zone", "name")
	if err != nil {
		return z, err
	}
	if z.Name, err = m.k.String(name, 32); err != nil {
		return z, err
	}
	free, err := m.enum("zone_stat_item", "NR_FREE_PAGES")
	if err != nil {
		return z, err
	}
	boost := m.field(at, "zone", "watermark_boost")
	for _, v := range []struct {
		to   *uint64
		path string
		more uint64
	}{
		{&z.Free, fmt.Sprintf("vm_stat[%d]", free), 0},
		{&z.Min, "_watermark[0]", boost}, {&z.Low, "_watermark[1]", boost}, {&z.High, "_watermark[2]", boost},
	} {
		n, err := m.k.Value(at, "zone", v.path)
		if err != nil {
			return z, err
		}
		*v.to = m.pages(n + v.more)
	}
	return z, nil
}

// hugePages reads the pools of huge pages: hstates of mm/hugetlb.c.
func (m *maker) hugePages(u *Memory) error {
	if !m.types.Has("hstate") {
		u.HugePages = []HugePages{} // without CONFIG_HUGETLB_PAGE
		return nil
	}
	at, err := m.k.Lookup("hstates")
	if err != nil {
		return err
	}
	n, err := m.number("hugetlb_max_hstate", 4)
	if err != nil {
		return err
	}
	size, err := m.types.Size("hstate")
	if err != nil {
		return err
	}
	list := []HugePages{}
	for i := range min(n, maxHstate) {
		var h HugePages
		var order uint64
		for _, v := range []struct {
			to   *uint64
			name string
		}{
			{&order, "order"}, {&h.Total, "nr_huge_pages"}, {&h.Free, "free_huge_pages"},
			{&h.Reserved, "resv_huge_pages"}, {&h.Surplus, "surplus_huge_pages"},
		} {
			if *v.to, err = m.k.Value(at+i*size, "hstate", v.name); err != nil {
				return err
			}
		}
		h.PageBytes = m.pages(1 << min(order, 40))
		list = append(list, h)
	}
	u.HugePages = list
	return nil
}

package kexec

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/dt"
	"golang.org/x/sys/unix"
)

// armIomem is the memory of a machine with a reservation above and one below 4 GiB.
const armIomem = `40000000-bfffffff : System RAM
  40210000-41c5ffff : Kernel code
  41c60000-424fffff : reserved
  42500000-42caffff : Kernel data
  70000000-77ffffff : Crash kernel
c0000000-c000ffff : reserved
100000000-17fffffff : System RAM
  160000000-16fffffff : Crash kernel
10000000000-100000fffff : reserved
`

// armMachine returns the files of a machine without kexec_file_load, and a device
// tree with those properties of its root.
func armMachine(t *testing.T, root ...dt.Property) machine {
	t.Helper()
	chosen := dt.NewNode("chosen", dt.WithProperty(
		dt.PropertyString("bootargs", "root=/dev/vda1 quiet"),
		dt.PropertyString("stdout-path", "/pl011@9000000"),
		dt.PropertyU64("linux,initrd-start", 0x48000000),
		dt.PropertyU64("linux,initrd-end", 0x49000000),
		dt.PropertyU64("kaslr-seed", 0),
	))
	tree := &dt.FDT{
		Header:         dt.Header{Magic: dt.Magic, Version: 17, LastCompVersion: 16},
		ReserveEntries: []dt.ReserveEntry{{Address: 0x48000000, Size: 0x1000000}, {Address: 0x4a000000, Size: 0x1000}},
		RootNode:       dt.NewNode("", dt.WithProperty(root...), dt.WithChildren(chosen, dt.NewNode("psci"))),
	}
	var b bytes.Buffer
	if _, err := tree.Write(&b); err != nil {
		t.Fatal(err)
	}
	const cpu = "sys/devices/system/cpu/cpu"
	return machine{
		"sys/kernel/kexec_crash_size": "402653184\n",
		"proc/iomem":                  armIomem,
		"sys/kernel/vmcoreinfo":       "0x0000000042f00000 1024\n",
		cpu + "0/crash_notes":         "17fe00000\n", cpu + "0/crash_notes_size": "412\n",
		cpu + "1/crash_notes": "17fe40000\n", cpu + "1/crash_notes_size": "412\n",
		cpu + "2/online":   "0\n", // no processor is there
		"sys/firmware/fdt": b.String(),
	}
}

func twoCells() []dt.Property {
	return []dt.Property{dt.PropertyU32("#address-cells", 2), dt.PropertyU32("#size-cells", 2)}
}

// armKernel returns an Image whose code is content.
func armKernel(textOffset uint64, content string) []byte {
	b := make([]byte, imageHeaderSize)
	binary.LittleEndian.PutUint64(b[8:], textOffset)
	copy(b[imageMagicAt:], imageMagic)
	return append(b, content...)
}

func armSlot(t *testing.T, files machine) (s *Slot, loaded *[]Segment, entry *uint64) {
	t.Helper()
	s = newSlot(t, files, unix.ENOSYS)
	s.Arch = "arm64"
	loaded, entry = new([]Segment), new(uint64)
	s.SegmentLoad = func(at uint64, list []Segment, flags int) error {
		if flags != unix.KEXEC_ON_CRASH {
			t.Errorf("flags %#x", flags)
		}
		// The files are unmapped after the call.
		for i := range list {
			list[i].Data = bytes.Clone(list[i].Data)
		}
		*loaded, *entry = list, at
		return nil
	}
	return s, loaded, entry
}

func TestSegments(t *testing.T) {
	s, loaded, entry := armSlot(t, armMachine(t, twoCells()...))
	image, initrd := armKernel(0, "kernel"), []byte("initrd")
	kernel := &Kernel{File: tempFile(t, "Image", image), InitSize: 40<<20 + 1}
	if err := s.Load(kernel, tempFile(t, "initrd", initrd), 0, "panic=10 nr_cpus=1"); err != nil {
		t.Fatal(err)
	}
	list := *loaded
	if len(list) != 5 {
		t.Fatalf("%d segments", len(list))
	}
	// All lie in the last range, in pages of any size, and none on another.
	next := uint64(0x160000000)
	for i, g := range list {
		if g.Address < next || g.Address%segmentAlign != 0 || g.Size%segmentAlign != 0 || g.Size < uint64(len(g.Data)) {
			t.Errorf("segment %d: %#x, %d bytes for %d, the next free address is %#x", i, g.Address, g.Size, len(g.Data), next)
		}
		next = g.Address + g.Size
	}
	if next > 0x170000000 {
		t.Errorf("the segments end at %#x", next)
	}
	if !bytes.Equal(list[0].Data, image) || list[0].Size < 40<<20+1 || list[0].Address%kernelAlign != 0 || !bytes.Equal(list[1].Data, initrd) {
		t.Errorf("kernel at %#x, %d bytes; initrd %q", list[0].Address, list[0].Size, list[1].Data)
	}
	if code := list[4].Data; *entry != list[4].Address || binary.LittleEndian.Uint64(code[24:]) != list[3].Address || binary.LittleEndian.Uint64(code[32:]) != list[0].Address {
		t.Errorf("starts at %#x with % x", *entry, code)
	}
	checkHeader(t, list[2].Data)
	checkTree(t, list)
}

// checkHeader expects the memory of armIomem without the reserved ranges.
func checkHeader(t *testing.T, header []byte) {
	t.Helper()
	core, err := elf.NewFile(bytes.NewReader(header))
	if err != nil {
		t.Fatal(err)
	}
	var got [][3]uint64
	for _, p := range core.Progs {
		if p.Off != p.Paddr || p.Filesz != p.Memsz {
			t.Errorf("segment %+v", p.ProgHeader)
		}
		got = append(got, [3]uint64{uint64(p.Type), p.Paddr, p.Memsz})
	}
	note, load := uint64(elf.PT_NOTE), uint64(elf.PT_LOAD)
	want := [][3]uint64{
		{note, 0x17fe00000, 412}, {note, 0x17fe40000, 412}, {note, 0x42f00000, 0x1024},
		{load, 0x40000000, 0x30000000}, {load, 0x78000000, 0x48000000},
		{load, 0x100000000, 0x60000000}, {load, 0x170000000, 0x10000000},
	}
	if len(got) != len(want) {
		t.Fatalf("got %x, want %x", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("segment %d: got %x, want %x", i, got[i], want[i])
		}
	}
	if core.Machine != elf.EM_AARCH64 || core.Type != elf.ET_CORE {
		t.Errorf("got %v, %v", core.Machine, core.Type)
	}
}

func checkTree(t *testing.T, list []Segment) {
	t.Helper()
	tree, err := dt.ReadFDT(bytes.NewReader(list[3].Data))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.ReserveEntries) != 1 || tree.ReserveEntries[0].Address != 0x4a000000 {
		t.Errorf("reserved: %x", tree.ReserveEntries)
	}
	if _, ok := tree.RootNode.LookupChildByName("psci"); !ok {
		t.Error("the other nodes are gone")
	}
	chosen, _ := tree.RootNode.LookupChildByName("chosen")
	value := func(name string) []byte {
		p, ok := chosen.LookProperty(name)
		if !ok {
			t.Errorf("no property %s", name)
			return nil
		}
		return p.Value
	}
	words := func(list ...uint64) (b []byte) {
		for _, n := range list {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		return b
	}
	initrd, header := list[1], list[2]
	for name, want := range map[string][]byte{
		"bootargs":                  []byte("panic=10 nr_cpus=1\x00"),
		"stdout-path":               []byte("/pl011@9000000\x00"),
		"linux,initrd-start":        words(initrd.Address),
		"linux,initrd-end":          words(initrd.Address + uint64(len(initrd.Data))),
		"linux,elfcorehdr":          words(header.Address, uint64(len(header.Data))),
		"linux,usable-memory-range": words(0x160000000, 0x10000000, 0x70000000, 0x8000000),
	} {
		if got := value(name); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
	if seed := value("kaslr-seed"); len(seed) != 8 || bytes.Equal(seed, make([]byte, 8)) || len(value("rng-seed")) < 32 {
		t.Errorf("kaslr-seed %x", seed)
	}
}

// A fact that is missing or wrong is named, and nothing is loaded.
func TestSegmentsRefused(t *testing.T) {
	const cpu = "sys/devices/system/cpu/cpu"
	for _, tt := range []struct {
		name   string
		change machine
		root   []dt.Property
		image  []byte // armKernel(0, "") if nil
		size   uint64
		cause  Cause
		says   string
	}{
		{name: "no tree", change: machine{"sys/firmware/fdt": ""}, cause: Undescribed, says: "/sys/firmware/fdt"},
		{name: "tree cut off", change: machine{"sys/firmware/fdt": "\xd0\x0d\xfe\xed\x00\x00"}, cause: Undescribed, says: "/sys/firmware/fdt"},
		{name: "no tree at all", change: machine{"sys/firmware/fdt": strings.Repeat("x", 100)}, cause: Undescribed, says: "/sys/firmware/fdt"},
		{name: "short addresses", root: []dt.Property{dt.PropertyU32("#address-cells", 1)}, cause: Undescribed, says: "too short for 0x16"},
		{name: "cells of a bus", root: []dt.Property{dt.PropertyU32("#address-cells", 3)}, cause: Undescribed, says: "#address-cells of the root is not 1 or 2"},
		{name: "no processor", change: machine{cpu + "0/crash_notes": "", cpu + "1/crash_notes": ""}, cause: Undescribed, says: "crash_notes"},
		{name: "registers nowhere", change: machine{cpu + "0/crash_notes": "0\n"}, cause: Undescribed, says: "cpu0/crash_notes"},
		{name: "registers not a number", change: machine{cpu + "1/crash_notes": "(ptrval)\n"}, cause: Undescribed, says: "cpu1/crash_notes"},
		{name: "no VMCOREINFO", change: machine{"sys/kernel/vmcoreinfo": ""}, cause: Undescribed, says: "vmcoreinfo"},
		{name: "VMCOREINFO without size", change: machine{"sys/kernel/vmcoreinfo": "0x42f00000\n"}, cause: Undescribed, says: "vmcoreinfo"},
		{name: "addresses hidden", change: machine{"proc/iomem": "00000000-00000000 : System RAM\n  00000000-00000000 : Crash kernel\n"}, cause: Undescribed, says: "no address of the reserved memory"},
		{name: "no memory", change: machine{"proc/iomem": "160000000-16fffffff : Crash kernel\n"}, cause: Undescribed, says: "no memory"},
		{name: "x86 kernel", image: make([]byte, 4096), cause: Undescribed, says: "not an arm64 Image"},
		{name: "short kernel", image: []byte("MZ"), cause: Undescribed, says: "not an arm64 Image"},
		{name: "offset of an old kernel", image: armKernel(0x80000, ""), size: 1 << 20},
		{name: "senseless offset", image: armKernel(1<<40, ""), cause: Undescribed, says: "offset"},
		{name: "kernel fits only alone", size: 256<<20 - segmentAlign, cause: Fragmented},
		{name: "locked down", change: machine{"sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}, cause: LockedTools, says: "forbids kexec_load"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := tt.root
			if root == nil {
				root = twoCells()
			}
			files := armMachine(t, root...)
			for name, text := range tt.change {
				files[name] = text
			}
			s, loaded, _ := armSlot(t, files)
			image := tt.image
			if image == nil {
				image = armKernel(0, "")
			}
			kernel := &Kernel{File: tempFile(t, "Image", image), InitSize: tt.size, Signed: true}
			err := s.Load(kernel, tempFile(t, "initrd", make([]byte, 100)), 0, "")
			e := new(Error)
			if errors.As(err, &e); e.Cause != tt.cause || err != nil && (!strings.Contains(err.Error(), tt.says) || e.Advice() == "") {
				t.Errorf("got %v, cause %d, advice %q", err, e.Cause, e.Advice())
			}
			if (len(*loaded) == 0) != (tt.cause != 0) {
				t.Errorf("%d segments loaded", len(*loaded))
			}
		})
	}
}

// The system call's own errors have their causes.
func TestSegmentLoadErrors(t *testing.T) {
	for _, tt := range []struct {
		errno unix.Errno
		cause Cause
	}{
		{unix.ENOSYS, NoSupport}, {unix.EBUSY, Busy}, {unix.EADDRNOTAVAIL, Fragmented},
		{unix.ENOMEM, NoMemory}, {unix.EPERM, Denied}, {unix.EINVAL, Invalid},
	} {
		s, _, _ := armSlot(t, armMachine(t, twoCells()...))
		calls := 0
		s.SegmentLoad = func(uint64, []Segment, int) error { calls++; return tt.errno }
		kernel := &Kernel{File: tempFile(t, "Image", armKernel(0, ""))}
		err := s.Load(kernel, tempFile(t, "initrd", nil), 0, "")
		var e *Error
		if !errors.As(err, &e) || e.Cause != tt.cause || (calls > 1) != (tt.errno == unix.EBUSY) {
			t.Errorf("%v: got %v, %d calls", tt.errno, err, calls)
		}
		if err := s.Unload(); err == nil {
			t.Errorf("%v: unload succeeds", tt.errno)
		}
	}
}

func TestWithout(t *testing.T) {
	for _, tt := range []struct{ ranges, holes, want []Range }{
		{[]Range{{0, 9}}, nil, []Range{{0, 9}}},
		{[]Range{{0, 9}}, []Range{{0, 9}}, nil},
		{[]Range{{0, 9}}, []Range{{0, 20}}, nil},
		{[]Range{{5, 9}}, []Range{{0, 4}, {10, 20}}, []Range{{5, 9}}},
		{[]Range{{0, 9}}, []Range{{0, 3}}, []Range{{4, 9}}},
		{[]Range{{0, 9}}, []Range{{4, 9}}, []Range{{0, 3}}},
		{[]Range{{0, 9}}, []Range{{2, 3}, {6, 7}}, []Range{{0, 1}, {4, 5}, {8, 9}}},
		{[]Range{{0, 9}, {20, 29}}, []Range{{5, 24}}, []Range{{0, 4}, {25, 29}}},
	} {
		got := without(tt.ranges, tt.holes)
		if len(got) != len(tt.want) {
			t.Errorf("%v without %v: got %v", tt.ranges, tt.holes, got)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%v without %v: got %v", tt.ranges, tt.holes, got)
			}
		}
	}
}

// The registers are in the order of the processors, wherever the memory for them is.
func TestCrashNotes(t *testing.T) {
	files := armMachine(t, twoCells()...)
	const cpu = "sys/devices/system/cpu/cpu"
	for n, at := range map[string]string{"0": "3000", "1": "9000", "2": "1000", "10": "2000"} {
		files[cpu+n+"/crash_notes"], files[cpu+n+"/crash_notes_size"] = at+"\n", "412\n"
	}
	s, _, _ := armSlot(t, files)
	got, err := s.crashNotes()
	want := []span{{0x3000, 412}, {0x9000, 412}, {0x1000, 412}, {0x2000, 412}, {0x42f00000, 0x1024}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

// A kcore shows the virtual addresses and VMCOREINFO of the running kernel.
func TestVirtual(t *testing.T) {
	const linear, offset = 0xffff000000000000, uint64(0xffff7fffc0000000)
	info := []byte("OSRELEASE=6.1.0\nNUMBER(kimage_voffset)=0xffff7fffc0000000\n")
	var note []byte
	for _, n := range []uint32{11, uint32(len(info)), 0} {
		note = binary.LittleEndian.AppendUint32(note, n)
	}
	note = append(append(note, "VMCOREINFO\x00\x00"...), info...)
	note = append(note, make([]byte, roundUp(uint64(len(note)), 4)-uint64(len(note)))...)
	const headers = elfHeaderSize + 3*progHeaderSize
	kcore := encode([]elf.Prog64{
		{Type: uint32(elf.PT_NOTE), Off: headers, Filesz: uint64(len(note))},
		{Type: uint32(elf.PT_LOAD), Vaddr: linear, Paddr: 0x40000000, Off: 1 << 20, Filesz: 0x80000000, Memsz: 0x80000000},
		{Type: uint32(elf.PT_LOAD), Vaddr: 0xffff800080000000, Paddr: ^uint64(0), Off: 1 << 40, Filesz: 1 << 30, Memsz: 1 << 30},
	})
	files := armMachine(t, twoCells()...)
	files["proc/kcore"] = string(append(kcore, note...))
	s, loaded, _ := armSlot(t, files)
	kernel := &Kernel{File: tempFile(t, "Image", armKernel(0, ""))}
	if err := s.Load(kernel, tempFile(t, "initrd", nil), 0, ""); err != nil {
		t.Fatal(err)
	}
	core, err := elf.NewFile(bytes.NewReader((*loaded)[2].Data))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[uint64]uint64)
	for _, p := range core.Progs {
		if p.Type == elf.PT_LOAD {
			got[p.Paddr] = p.Vaddr
		}
	}
	for at, want := range map[uint64]uint64{
		0x40000000: linear, 0x78000000: linear + 0x38000000, 0x40210000: 0x40210000 + offset,
		0x100000000: 0, // kcore does not show it
	} {
		if v, ok := got[at]; !ok || v != want {
			t.Errorf("%#x is at %#x, %v, want %#x", at, v, ok, want)
		}
	}
}

package dm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

var table = []Target{
	{0, 2048, "linear", "8:1 2048"},
	{2048, 40960, "striped", "2 128 8:1 4096 8:17 0"},
	{43008, 8, "error", ""},
}

func TestRequest(t *testing.T) {
	r, err := newRequest("vg-root", "LVM-abc", tableSize(table))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.putTable(table); err != nil {
		t.Fatal(err)
	}
	h := (*unix.DmIoctl)(unsafe.Pointer(&r[0]))
	if h.Version != [3]uint32{4, 0, 0} || int(h.Data_size) != len(r) || int(h.Data_start) != headerSize || h.Target_count != 3 {
		t.Errorf("header %+v", h)
	}
	if d := r.device(); d.Name != "vg-root" || d.UUID != "LVM-abc" {
		t.Errorf("device %+v", d)
	}
	// Where the second line begins, counted from the first.
	first := (*unix.DmTargetSpec)(unsafe.Pointer(&r[headerSize]))
	if first.Next != 56 || first.Length != 2048 { // 40, "8:1 2048", NUL, seven to fill up
		t.Errorf("first line %+v", first)
	}
	second := (*unix.DmTargetSpec)(unsafe.Pointer(&r[headerSize+56]))
	if second.Sector_start != 2048 || unix.ByteSliceToString(second.Target_type[:]) != "striped" {
		t.Errorf("second line %+v", second)
	}
}

func TestRequestRefused(t *testing.T) {
	for _, c := range []struct {
		name, uuid string
		table      []Target
	}{
		{"", "", nil},
		{"../x", "", nil},
		{strings.Repeat("n", 128), "", nil},
		{"n", strings.Repeat("u", 129), nil},
		{"n", "", []Target{{Type: strings.Repeat("t", 16)}}},
		{"n", "", []Target{{Type: "linear", Params: "8:1 0\x00"}}},
		{"n", "", []Target{{Type: "linear", Params: strings.Repeat("p", maxTable)}}},
	} {
		r, err := newRequest(c.name, c.uuid, tableSize(c.table))
		if err == nil {
			err = r.putTable(c.table)
		}
		if err == nil {
			t.Errorf("%.20q %.20q %.40v: no error", c.name, c.uuid, c.table)
		}
	}
	if _, err := newRequest(strings.Repeat("n", 127), strings.Repeat("u", 128), 0); err != nil {
		t.Error(err)
	}
}

// answer turns a request with a table into the answer of the kernel.
func answer(t testing.TB, table []Target) request {
	r, err := newRequest("vg-root", "", tableSize(table)+100)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.putTable(table); err != nil {
		t.Fatal(err)
	}
	at := headerSize
	for i := range table {
		s := r.spec(at)
		at += lineSize(&table[i])
		s.Next = uint32(at - headerSize)
	}
	return r
}

func TestTargets(t *testing.T) {
	got, err := answer(t, table).targets()
	if err != nil || !slices.Equal(got, table) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := answer(t, nil).targets(); err != nil || len(got) != 0 {
		t.Errorf("no table: %v, %v", got, err)
	}
}

func TestDevice(t *testing.T) {
	r, err := newRequest("a", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.header().Dev = unix.Mkdev(253, 300)
	r.header().Flags = unix.DM_ACTIVE_PRESENT_FLAG
	d := r.device()
	if d.Major != 253 || d.Minor != 300 || d.Kernel() != "dm-300" || d.Number() != "253:300" || !d.Active {
		t.Errorf("%+v", d)
	}
}

func TestError(t *testing.T) {
	err := error(&Error{"load the table of", "vg-root", unix.EINVAL})
	if got, want := err.Error(), "device-mapper: load the table of vg-root: invalid argument"; got != want || !errors.Is(err, unix.EINVAL) {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzTargets(f *testing.F) {
	f.Add([]byte(answer(f, table)))
	f.Add(make([]byte, headerSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		list, err := request(b).targets()
		if err == nil && len(list) != int(request(b).header().Target_count) {
			t.Errorf("%d targets", len(list))
		}
	})
}

package rawdump

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"ukdump/internal/crashdir"
)

// sparse is a device of size bytes with content at its beginning and zeros behind it.
// It fails after ops writes and syncs.
type sparse struct {
	content []byte
	size    int64
	ops     int
	wrote   []extent
	t       *testing.T
}

type extent struct{ from, to int64 }

func (d *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		d.t.Fatalf("read at %d", off)
	}
	n := min(int64(len(p)), max(0, d.size-off))
	clear(p[:n])
	if off < int64(len(d.content)) {
		copy(p[:n], d.content[off:])
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (d *sparse) WriteAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	if off < 0 || end > d.size {
		d.t.Fatalf("%d bytes written at %d of a device of %d", len(p), off, d.size)
	}
	if d.ops--; d.ops < 0 {
		return 0, errPower
	}
	d.wrote = append(d.wrote, extent{off, end})
	if off < int64(len(d.content)) {
		copy(d.content[off:], p)
	}
	return len(p), nil
}

func (d *sparse) Sync() error {
	if d.ops--; d.ops < 0 {
		return errPower
	}
	return nil
}

// FuzzRestore gives a device with a damaged dump back, with a loss of power after a
// number of operations and another attempt after it. Only the head of the device may
// change, and, if that becomes zeros, the places in front of the log; nobody finds a dump
// there afterwards.
func FuzzRestore(f *testing.F) {
	d := newDisk(swapHead(4096))
	w := mustCreate(f, d)
	w.WriteFile(crashdir.ReportFile, text2("report"))
	head, saved, state := d.now[:sector], d.now[savedAt:stateAt], d.now[stateAt+stateSize:stateAt+stateSize+sector]
	plain := bytes.Clone(head)
	copy(plain[hHeldType:hHeldUUID], "ext4\x00")
	later := bytes.Clone(head)
	le.PutUint32(later[hVersion:], 2)
	f.Add(head, saved, state, int64(testSize), byte(200), true)
	f.Add(head, saved, state, int64(testSize), byte(1), true)
	f.Add(head, saved, state, int64(testSize), byte(3), true)
	f.Add(head, saved[:100], state, int64(testSize), byte(200), false) // a damaged copy
	f.Add(head, head, state, int64(testSize), byte(200), true)         // the copy is a dump itself
	f.Add(plain, saved, state, int64(testSize), byte(200), true)
	f.Add(plain, saved, state, int64(testSize), byte(7), true)
	f.Add(head, saved, state, int64(3<<20), byte(200), true) // smaller than when it was written
	f.Add(plain, saved, state, int64(3<<20), byte(200), true)
	f.Add(head, saved, state, int64(2048), byte(200), true)
	f.Add(head, saved, state, int64(100), byte(200), true)
	f.Add(later, saved, state, int64(testSize), byte(200), true)
	f.Add(saved[:sector], saved, state, int64(testSize), byte(200), false) // no dump
	f.Fuzz(func(t *testing.T, head, saved, state []byte, size int64, ops byte, fix bool) {
		d := &sparse{content: damagedImage(head, saved, state, fix), size: size & (1<<40 - 1), ops: int(ops), t: t}
		before := bytes.Clone(d.content)
		original, err := Restore(d, d.size)
		if errors.Is(err, errPower) {
			d.ops = 1 << 30
			if original, err = Restore(d, d.size); errors.Is(err, ErrNone) {
				// The head was back already.
				original, err = bytes.Equal(d.content[:headSize], before[savedAt:stateAt]), nil
			}
		}
		if err != nil {
			if len(d.wrote) > 0 {
				t.Fatalf("%v, after writing to %v", err, d.wrote)
			}
			return
		}
		for _, e := range d.wrote {
			if e.to > headSize && (original || e.from < savedAt || e.to > areaAt) {
				t.Errorf("wrote to %v, original %t", e, original)
			}
		}
		want := before[savedAt:stateAt]
		if !original {
			want = make([]byte, headSize)
		}
		n := min(headSize, d.size)
		if !bytes.Equal(d.content[:n], want[:n]) {
			t.Errorf("the head is not as it should be, original %t", original)
		}
		if _, err := Open(d, d.size); !errors.Is(err, ErrNone) {
			t.Errorf("Open after Restore: %v", err)
		}
	})
}

// damagedImage is the beginning of a device with a header, a copy of the device's own
// head and a state. fix makes their checksums right, so that a fuzzer gets behind them.
func damagedImage(head, saved, state []byte, fix bool) []byte {
	img := make([]byte, stateAt+2*stateSize)
	copy(img[:sector], head)
	copy(img[savedAt:stateAt], saved)
	copy(img[stateAt+stateSize:][:sector], state)
	if !fix {
		return img
	}
	le.PutUint32(img[hSavedCRC:], checksum(img[savedAt:stateAt]))
	for _, part := range []struct{ at, crc int }{{0, hCRC}, {stateAt + stateSize, sCRC}} {
		s := img[part.at : part.at+sector]
		clear(s[part.crc : part.crc+4])
		le.PutUint32(s[part.crc:], checksum(s))
	}
	return img
}

// readLimit bounds what reading a dump may allocate, in bytes: a few buffers, whatever
// sizes the device claims.
const readLimit = 4 * bufferSize

// FuzzReadDamaged reads a dump from a device that claims any size. What is read lies on
// the device, is no longer than the state says, and takes no more memory than a few
// buffers.
func FuzzReadDamaged(f *testing.F) {
	d := newDisk(swapHead(4096))
	w := mustCreate(f, d)
	w.WriteFile(crashdir.Dmesg, text2("log"))
	w.WriteFile(crashdir.ReportFile, text2("report"))
	w.BeginStream()
	w.EndStream(3*bufferSize, true, func() {})
	head, state := d.now[:sector], d.now[stateAt:stateAt+sector]
	if le.Uint64(d.now[stateAt+stateSize+sSeq:]) > le.Uint64(state[sSeq:]) {
		state = d.now[stateAt+stateSize : stateAt+stateSize+sector]
	}
	far := bytes.Clone(state)
	le.PutUint64(far[sFiles:], areaAt)
	le.PutUint64(far[sFiles+8:], 1<<39) // a log of half a terabyte
	huge := bytes.Clone(head)
	le.PutUint64(huge[hSize:], 1<<40-1)
	negative := bytes.Clone(state)
	le.PutUint64(negative[sLength:], 1<<63)
	f.Add(head, state, int64(testSize))
	f.Add(huge, far, int64(1<<40-1))
	f.Add(head, negative, int64(testSize))
	f.Fuzz(func(t *testing.T, head, state []byte, size int64) {
		d := &sparse{content: damagedImage(head, nil, state, true), size: size & (1<<40 - 1), t: t}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		dump, err := Open(d, d.size)
		if err != nil {
			return
		}
		for _, file := range dump.Files {
			out := &stopAfter{left: 8 * bufferSize}
			err := dump.CopyFile(out, file.Name)
			if got := 8*bufferSize - out.left; err == nil && got != file.Size || got > file.Size {
				t.Errorf("%s: %d of %d bytes, %v", file.Name, got, file.Size, err)
			}
			if file.Name != crashdir.Dmesg && file.Size > FileLimit {
				t.Errorf("%s has %d bytes", file.Name, file.Size)
			}
		}
		n, _ := io.CopyN(io.Discard, dump.OpenStream(), 8*bufferSize)
		if n > dump.Stream.Length || n < min(dump.Stream.Length, 8*bufferSize) {
			t.Errorf("%d bytes of the stream %+v", n, dump.Stream)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > readLimit {
			t.Errorf("took %d bytes of memory", took)
		}
	})
}

var errEnough = errors.New("enough")

// stopAfter takes a number of bytes.
type stopAfter struct{ left int64 }

func (s *stopAfter) Write(p []byte) (int, error) {
	if int64(len(p)) > s.left {
		return 0, errEnough
	}
	s.left -= int64(len(p))
	return len(p), nil
}

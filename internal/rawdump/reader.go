package rawdump

import (
	"fmt"
	"hash/crc32"
	"io"
)

// Dump is a dump on a device.
type Dump struct {
	Header   Header
	Finished bool   // the capture came to its end
	Files    []File // that are there
	Stream   Stream

	dev   io.ReaderAt
	state state
}

// File is one of the files of a dump.
type File struct {
	Name    string // in a dump's directory, see package crashdir
	Size    int64  // in bytes
	Partial bool   // only the beginning of it
}

// Open reads what a device of size bytes says of the dump on it: ErrNone if there
// is none, a *DamagedError if it cannot be believed. Every place that it names
// lies on the device.
func Open(dev io.ReaderAt, size int64) (*Dump, error) {
	h, err := readHeader(dev, size)
	if err != nil {
		return nil, err
	}
	s, err := readState(dev, &h)
	if err != nil {
		return nil, err
	}
	d := &Dump{Header: h, Finished: s.finished, Stream: s.stream, dev: dev, state: s}
	for i, f := range s.files {
		if f.at != 0 {
			d.Files = append(d.Files, File{fileNames[i], f.size, f.partial})
		}
	}
	return d, nil
}

// CopyFile writes a file to w and checks it. The error is a *DamagedError if the
// device cannot be read or does not hold what was written; what w has got then is
// not to be believed.
func (d *Dump) CopyFile(w io.Writer, name string) error {
	i, err := fileIndex(name)
	if err != nil {
		return err
	}
	f := d.state.files[i]
	if f.at == 0 {
		return fmt.Errorf("%s: %w", name, ErrNone)
	}
	crc := uint32(0)
	b := make([]byte, min(bufferSize, f.size))
	for off := int64(0); off < f.size; {
		part := b[:min(int64(len(b)), f.size-off)]
		if err := readFull(d.dev, part, f.at+off); err != nil {
			return &DamagedError{name, err}
		}
		crc = crc32.Update(crc, castagnoli, part)
		if _, err := w.Write(part); err != nil {
			return err
		}
		off += int64(len(part))
	}
	if crc != f.crc {
		return &DamagedError{What: name}
	}
	return nil
}

// StreamReader reads the stream, as far as it is known to be on the device.
func (d *Dump) StreamReader() *io.SectionReader { return d.Stream.reader(d.dev) }

// CheckStream reads the whole stream and compares its checksum. A stream that
// was cut has none: nothing is read then. progress is called after each 256 KiB.
func (d *Dump) CheckStream(progress func()) error {
	if !d.Stream.Ended {
		return nil
	}
	crc, err := sumOf(d.StreamReader(), progress)
	if err != nil {
		return &DamagedError{"the stream", err}
	}
	if crc != d.Stream.crc {
		return &DamagedError{What: "the stream"}
	}
	return nil
}

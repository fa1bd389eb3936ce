package rawdump

import (
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

// Dump is a dump on a device.
type Dump struct {
	Header   Header
	Finished bool   // the capture has ended
	Files    []File // on the device
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

// Open reads the header and the state of the dump on a device of size bytes. The error
// is ErrNone if the device has no dump, a *DamagedError if the dump is damaged. Every
// place in the Dump lies on the device.
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

// CopyFile writes a file to w and checks it. The error is fs.ErrNotExist if the dump
// does not have it, or a *DamagedError if the device cannot be read or its content has
// changed; the bytes that w got are then untrusted.
func (d *Dump) CopyFile(w io.Writer, name string) error {
	i, err := fileIndex(name)
	if err != nil {
		return err
	}
	f := d.state.files[i]
	if f.at == 0 {
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
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

// OpenStream returns a reader of the flattened dump, up to the length that is known to
// be on the device. It ends with a *DamagedError if the bytes differ from those that
// were written. A stream that was cut has no checksum and is not verified.
func (d *Dump) OpenStream() io.Reader { return &streamReader{d: d} }

type streamReader struct {
	d   *Dump
	off int64
	crc uint32
}

// Read implements io.Reader.
func (s *streamReader) Read(p []byte) (int, error) {
	stream := &s.d.Stream
	if s.off == stream.Length {
		if stream.Ended && s.crc != stream.crc {
			return 0, &DamagedError{What: "the stream"}
		}
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), stream.Length-s.off)]
	if err := readFull(s.d.dev, p, stream.Start+s.off); err != nil {
		return 0, &DamagedError{"the stream", err}
	}
	s.off += int64(len(p))
	s.crc = crc32.Update(s.crc, castagnoli, p)
	return len(p), nil
}

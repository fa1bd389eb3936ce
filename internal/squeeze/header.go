package squeeze

import (
	"bytes"
	"errors"
	"fmt"
)

// head takes data before the descriptors: it reads the headers and sets the compression in
// them. makedumpfile(8) writes each of them in one record.
func (s *stream) head(p []byte, off int64) error {
	if s.pageSize == 0 && off != 0 {
		return fmt.Errorf("offset %d of the dump before its header", off)
	}
	if off == 0 && bytes.HasPrefix(p, []byte("\x7fELF")) {
		return errors.New("input is an ELF core: makedumpfile must not have -E")
	}
	header, err := within(p, off, 0, headerSize)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if header != nil {
		if err := s.header(header); err != nil {
			return err
		}
	}
	sub, err := within(p, off, s.pageSize, subSize)
	if err != nil {
		return fmt.Errorf("sub header: %w", err)
	}
	if sub != nil {
		if le.Uint32(sub[splitAt:]) != 0 {
			return errors.New("input is a part of a split dump")
		}
		s.filter.learn(&s.layout, sub)
	}
	s.filter.take(p, off)
	return nil
}

// within returns the part of p, which is at an offset of the dump, that has size bytes at an
// offset: nil if it has none of them, and an error if it has some of them.
func within(p []byte, off, at, size int64) ([]byte, error) {
	end := off + int64(len(p))
	switch {
	case end <= at || off >= at+size:
		return nil, nil
	case off > at || end < at+size:
		return nil, fmt.Errorf("a record has only a part of it, %d bytes at offset %d", len(p), off)
	}
	return p[at-off:][:size], nil
}

// header reads the header and sets the compression in it.
func (s *stream) header(p []byte) error {
	if string(p[:8]) != kdumpMagic {
		return errors.New("input is not a kdump-compressed dump")
	}
	version, status := int32(le.Uint32(p[8:])), le.Uint32(p[statusAt:])
	size, sub, bitmap := int64(le.Uint32(p[428:])), int64(le.Uint32(p[432:])), int64(le.Uint32(p[436:]))
	switch {
	case version < 6:
		return fmt.Errorf("header version %d, only 6 and later are supported", version)
	case status&(flagZlib|flagLzo|flagSnappy|flagZstd) != 0:
		return errors.New("input is compressed already: makedumpfile must not have -c, -l, -p or -z")
	case status&flagIncomplete != 0:
		return errors.New("input is marked as incomplete")
	case size < minPage || size > maxPage || size&(size-1) != 0:
		return fmt.Errorf("block size %d is not a page size", size)
	case sub == 0 || bitmap == 0 || bitmap%2 != 0:
		return fmt.Errorf("sub header of %d and bitmaps of %d blocks", sub, bitmap)
	}
	l := layout{pageSize: size, desc: (1 + sub + bitmap) * size, most: bitmap / 2 * size * 8}
	switch {
	case s.pageSize == 0:
		s.layout, s.nextDesc = l, l.desc
	case l.pageSize != s.pageSize || l.desc != s.desc || l.most != s.most:
		return errors.New("the header was written again for another layout")
	}
	le.PutUint32(p[statusAt:], status|s.flag)
	return nil
}

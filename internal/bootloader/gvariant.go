package bootloader

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// A gvariant is a value in the serialized form of GLib's GVariant, with its type. Numbers
// are little-endian, as on all machines that ukdump runs on.
type gvariant struct {
	kind string // such as "as"
	data []byte
}

var errGVariant = errors.New("damaged GVariant")

// gvariantOffset returns the framing offset at the byte at of a container, and the size of
// all its offsets, which depends on its own (the GVariant specification, 2.3.4).
func gvariantOffset(container []byte, at int) int {
	if at < 0 || at >= len(container) {
		return -1
	}
	var word [8]byte
	copy(word[:], container[at:min(at+gvariantOffsetSize(len(container)), len(container))])
	n := binary.LittleEndian.Uint64(word[:])
	if n > uint64(len(container)) {
		return -1
	}
	return int(n)
}

func gvariantOffsetSize(container int) int {
	switch {
	case container <= 0xff:
		return 1
	case container <= 0xffff:
		return 2
	}
	return 4 // maxText is far below 4 GiB
}

// gvariantArray splits an array of elements that have no fixed size.
func gvariantArray(data []byte, alignment int) ([][]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	size := gvariantOffsetSize(len(data))
	table := gvariantOffset(data, len(data)-size) // the last offset is the end of the last element
	if table < 0 || (len(data)-table)%size != 0 {
		return nil, errGVariant
	}
	var elements [][]byte
	start := 0
	for at := table; at < len(data); at += size {
		start = (start + alignment - 1) / alignment * alignment
		end := gvariantOffset(data, at)
		if end < start || end > table {
			return nil, errGVariant
		}
		elements = append(elements, data[start:end])
		start = end
	}
	return elements, nil
}

// gvariantString returns a string without the zero at its end.
func gvariantString(data []byte) (string, error) {
	if i := bytes.IndexByte(data, 0); i < 0 || i != len(data)-1 {
		return "", errGVariant
	}
	return string(data[:len(data)-1]), nil
}

// gvariantDict reads a dictionary of the type a{sv}.
func gvariantDict(data []byte) (map[string]gvariant, error) {
	entries, err := gvariantArray(data, 8)
	if err != nil {
		return nil, err
	}
	dict := make(map[string]gvariant)
	for _, entry := range entries {
		size := gvariantOffsetSize(len(entry))
		end := gvariantOffset(entry, len(entry)-size) // of the key
		start := (end + 7) / 8 * 8                    // of the value
		if end < 0 || start > len(entry)-size {
			return nil, errGVariant
		}
		key, err := gvariantString(entry[:end])
		if err != nil {
			return nil, err
		}
		value := entry[start : len(entry)-size]
		i := bytes.LastIndexByte(value, 0) // the type is behind the value
		if i < 0 {
			return nil, errGVariant
		}
		dict[key] = gvariant{kind: string(value[i+1:]), data: value[:i]}
	}
	return dict, nil
}

// strings returns the elements of an array of strings, type as.
func (v gvariant) strings() ([]string, error) {
	if v.kind != "as" {
		return nil, errGVariant
	}
	elements, err := gvariantArray(v.data, 1)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range elements {
		text, err := gvariantString(e)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

// bool returns a value of the type b.
func (v gvariant) bool() bool { return v.kind == "b" && len(v.data) == 1 && v.data[0] == 1 }

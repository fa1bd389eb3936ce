package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"ukdump/initramfs"
	"ukdump/internal/plan"
)

// file is one entry of an image that is being changed.
type file struct {
	entry initramfs.Entry
	data  []byte
}

// image is an image that is being changed, packed again at the end.
type image struct {
	files  []*file
	packed func([]byte) []byte // change of the packed image; may be nil
}

// change is one way to change an image: NAME=ARGUMENT on the command line.
type change func(im *image, argument string) error

// changes are all changes. PATH is a path inside the image.
var changes = map[string]change{
	"rm":          (*image).remove,     // PATH, a pattern as in path.Match
	"put":         (*image).put,        // PATH=FILE
	"text":        (*image).text,       // PATH=TEXT
	"mv":          (*image).move,       // PATH=PATH
	"truncate":    (*image).truncate,   // PATH=BYTES
	"flip":        (*image).flip,       // PATH=BYTE: the lowest bit of that byte, of the middle one if empty
	"plan":        (*image).plan,       // KEY.KEY=JSON; a number is an index, + appends
	"collector":   (*image).collector,  // fault of badcollector
	"oops":        (*image).oops,       // module
	"spin":        (*image).spin,       // module
	"cut-packed":  (*image).cutPacked,  // bytes that stay, or N%
	"flip-packed": (*image).flipPacked, // N%: where the bit is
	"junk-packed": (*image).junkPacked, // bytes of garbage instead of the image
}

// edit writes a changed copy of an image.
func edit(in, out string, args []string) error {
	im, err := read(in)
	if err != nil {
		return err
	}
	for _, a := range args {
		name, argument, _ := strings.Cut(a, "=")
		f := changes[name]
		if f == nil {
			return fmt.Errorf("unknown change %q", name)
		}
		if err := f(im, argument); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	b, err := im.pack()
	if err != nil {
		return err
	}
	return os.WriteFile(out, b, 0o600)
}

func read(name string) (*image, error) {
	r, err := initramfs.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	im := new(image)
	for {
		e, err := r.Next()
		if err == io.EOF {
			return im, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		im.files = append(im.files, &file{e, data})
	}
}

func (im *image) pack() ([]byte, error) {
	var out initramfs.Image
	for _, f := range im.files {
		var err error
		switch e := f.entry; e.Mode.Type() {
		case fs.ModeDir:
			if e.Path != "." {
				err = out.AddDir(e.Path, e.Mode.Perm())
			}
		case fs.ModeSymlink:
			err = out.AddSymlink(e.Path, e.Link)
		default:
			err = out.AddFile(e.Path, f.data, e.Mode.Perm())
		}
		if err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	if err := out.Write(&b, initramfs.Zstd); err != nil {
		return nil, err
	}
	if im.packed != nil {
		return im.packed(b.Bytes()), nil
	}
	return b.Bytes(), nil
}

func (im *image) find(path string) (*file, error) {
	for _, f := range im.files {
		if f.entry.Path == path {
			return f, nil
		}
	}
	return nil, initramfs.ErrNotFound
}

// remove removes the paths that match the pattern, as path.Match does.
func (im *image) remove(pattern string) error {
	var left []*file
	for _, f := range im.files {
		matches, err := path.Match(pattern, f.entry.Path)
		if err != nil {
			return err
		}
		if !matches {
			left = append(left, f)
		}
	}
	if len(left) == len(im.files) {
		return initramfs.ErrNotFound
	}
	im.files = left
	return nil
}

func (im *image) set(path string, data []byte, mode fs.FileMode) {
	if f, err := im.find(path); err == nil {
		f.data = data
		return
	}
	im.files = append(im.files, &file{initramfs.Entry{Path: path, Mode: mode}, data})
}

func (im *image) put(argument string) error {
	path, name, _ := strings.Cut(argument, "=")
	data, err := os.ReadFile(name)
	im.set(path, data, 0o755)
	return err
}

func (im *image) text(argument string) error {
	path, text, _ := strings.Cut(argument, "=")
	im.set(path, []byte(text), 0o644)
	return nil
}

func (im *image) move(argument string) error {
	from, to, _ := strings.Cut(argument, "=")
	f, err := im.find(from)
	if err == nil {
		f.entry.Path = to
	}
	return err
}

func (im *image) truncate(argument string) error {
	path, n, _ := strings.Cut(argument, "=")
	f, err := im.find(path)
	if err != nil {
		return err
	}
	bytes, err := strconv.Atoi(n)
	if err != nil || bytes > len(f.data) {
		return fmt.Errorf("not a number up to %d", len(f.data))
	}
	f.data = f.data[:bytes]
	return nil
}

func (im *image) flip(argument string) error {
	path, n, _ := strings.Cut(argument, "=")
	f, err := im.find(path)
	if err != nil {
		return err
	}
	at := len(f.data) / 2
	if n != "" {
		if at, err = strconv.Atoi(n); err != nil {
			return err
		}
	}
	f.data[at] ^= 1
	return nil
}

// plan changes one value of the plan. The result need not make sense.
func (im *image) plan(argument string) error {
	key, value, _ := strings.Cut(argument, "=")
	f, err := im.find(plan.Path)
	if err != nil {
		return err
	}
	var root, v any
	if err := json.Unmarshal(f.data, &root); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		return err
	}
	if root, err = put(root, strings.Split(key, "."), v); err != nil {
		return err
	}
	f.data, err = json.MarshalIndent(root, "", "\t")
	return err
}

// put returns node with v at the end of the path of keys.
func put(node any, keys []string, v any) (any, error) {
	if len(keys) == 0 {
		return v, nil
	}
	var err error
	switch n := node.(type) {
	case nil:
		if keys[0] == "+" {
			return put([]any{}, keys, v)
		}
		return put(map[string]any{}, keys, v)
	case map[string]any:
		n[keys[0]], err = put(n[keys[0]], keys[1:], v)
		return n, err
	case []any:
		if keys[0] == "+" {
			return append(n, v), nil
		}
		i, err := strconv.Atoi(keys[0])
		if err != nil || i < 0 || i >= len(n) {
			return nil, fmt.Errorf("no element %q of %d", keys[0], len(n))
		}
		n[i], err = put(n[i], keys[1:], v)
		return n, err
	}
	return nil, fmt.Errorf("%q is inside of a plain value", keys[0])
}

// collector puts badcollector in place of makedumpfile.
func (im *image) collector(fault string) error {
	const path = "bin/makedumpfile"
	if err := im.move(path + "=" + path + ".real"); err != nil {
		return err
	}
	if err := im.put(path + "=/ukdump-test/badcollector"); err != nil {
		return err
	}
	return im.text("etc/badcollector=" + fault)
}

func (im *image) cutPacked(argument string) error {
	im.packed = func(b []byte) []byte { return b[:place(argument, len(b))] }
	return nil
}

func (im *image) flipPacked(argument string) error {
	im.packed = func(b []byte) []byte {
		b[place(argument, len(b)-1)] ^= 1
		return b
	}
	return nil
}

func (im *image) junkPacked(argument string) error {
	im.packed = func([]byte) []byte {
		junk := make([]byte, place(argument, 0))
		x := uint32(1)
		for i := range junk { // xorshift: the same junk each time
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			junk[i] = byte(x)
		}
		return junk
	}
	return nil
}

// place returns a place in something of size bytes: a number, or N% of the size.
func place(argument string, size int) int {
	percent, is := strings.CutSuffix(argument, "%")
	n, _ := strconv.Atoi(percent)
	if is {
		return size * n / 100
	}
	return n
}

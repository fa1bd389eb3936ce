package unseal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"ukdump/internal/advice"
	"ukdump/internal/seal"
)

// newKey returns a new private key and its recipient.
func newKey(t testing.TB) (*Identities, seal.Recipient) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := seal.ParseRecipient(id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	return &Identities{[]age.Identity{id}, "key.txt"}, r
}

// sealed returns content as package seal encrypts it.
func sealed(t testing.TB, content []byte, to ...seal.Recipient) []byte {
	t.Helper()
	rand, err := seal.NewRand(make([]byte, seal.SeedSize), 0)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := seal.NewWriter(&b, rand, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pattern returns n bytes that differ from chunk to chunk.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> (i / chunkSize % 5))
	}
	return b
}

func TestDecrypt(t *testing.T) {
	ids, to := newKey(t)
	_, other := newKey(t)
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize} {
		content := pattern(size)
		file := sealed(t, content, other, to)
		var b bytes.Buffer
		n, err := Decrypt(&b, bytes.NewReader(file), ids)
		if err != nil || n != int64(size) || !bytes.Equal(b.Bytes(), content) {
			t.Errorf("%d bytes: got %d, %v", size, n, err)
		}
		info, err := Inspect(bytes.NewReader(file), int64(len(file)))
		if err != nil || info.Recipients != 2 || info.Plain != int64(size) {
			t.Errorf("%d bytes: %+v, %v", size, info, err)
		}
		r, err := Open(bytes.NewReader(file), int64(len(file)), ids)
		if err != nil || r.Size() != int64(size) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes by offsets: %v", size, err)
		}
	}
}

// More chunks than are kept, in an order that drops each of them before its next use.
func TestReadAt(t *testing.T) {
	ids, to := newKey(t)
	content := pattern((cacheSize + 10) * chunkSize)
	file := sealed(t, content, to)
	r, err := Open(bytes.NewReader(file), int64(len(file)), ids)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1000)
	for i := range 3 * (cacheSize + 10) {
		off := i * 7 % (cacheSize + 10) * chunkSize
		if i%2 == 1 {
			off = max(0, off-len(p)/2) // in two chunks
		}
		if n, err := r.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, content[off:off+len(p)]) {
			t.Fatalf("offset %d: %d bytes, %v", off, n, err)
		}
	}
	if n, err := r.ReadAt(p, int64(len(content)-10)); n != 10 || err != io.EOF {
		t.Errorf("over the end: %d bytes, %v", n, err)
	}
	if n, err := r.ReadAt(p, int64(len(content)+10)); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
	if _, err := r.ReadAt(p, -1); err == nil {
		t.Error("a negative offset was read")
	}
}

func TestWrongIdentity(t *testing.T) {
	_, to := newKey(t)
	ids, _ := newKey(t)
	for n, want := range map[int]string{1: "encrypted to 1 key, none of which is in key.txt", 3: "encrypted to 3 keys, none of which is in key.txt"} {
		file := sealed(t, []byte("secret"), []seal.Recipient{to, to, to}[:n]...)
		var wrong *KeyError
		if _, err := Decrypt(io.Discard, bytes.NewReader(file), ids); !errors.As(err, &wrong) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if _, err := Open(bytes.NewReader(file), int64(len(file)), ids); !errors.As(err, &wrong) || err.Error() != want {
			t.Errorf("by offsets: got %v, want %s", err, want)
		}
	}
}

// Every length of a truncated file, and a change of every byte of small parts.
func TestDamage(t *testing.T) {
	ids, to := newKey(t)
	content := pattern(2*chunkSize + 100)
	file := sealed(t, content, to, to)
	size := int64(len(file))
	info, err := Inspect(bytes.NewReader(file), size)
	if err != nil {
		t.Fatal(err)
	}
	start := int(info.Header) + 16
	check := func(name string, file []byte) {
		t.Helper()
		var b bytes.Buffer
		_, err := Decrypt(&b, bytes.NewReader(file), ids)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
			t.Errorf("%s: %q", name, err)
		}
		if !bytes.HasPrefix(content, b.Bytes()) {
			t.Errorf("%s: the bytes before the error are not the content", name)
		}
		var damaged *DamagedError
		if errors.As(err, &damaged) && damaged.Part != Header && damaged.Good != int64(b.Len()) {
			t.Errorf("%s: %d bytes, the error says %d", name, b.Len(), damaged.Good)
		}
		r, err := Open(bytes.NewReader(file), int64(len(file)), ids)
		if err == nil {
			_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
		}
		if err == nil {
			t.Errorf("%s, by offsets: no error", name)
		}
	}
	var cuts []int
	for n := range start + 20 {
		cuts = append(cuts, n)
	}
	const chunk = chunkSize + 16
	cuts = append(cuts, start+chunk-1, start+chunk, start+chunk+1, start+chunk+15, start+chunk+16,
		start+2*chunk-1, start+2*chunk, start+2*chunk+1, len(file)-17, len(file)-16, len(file)-1)
	for _, n := range cuts {
		check(fmt.Sprintf("cut at %d of %d", n, len(file)), file[:n])
	}
	places := []int{start + 100, start + chunk - 1, start + chunk, start + 2*chunk, len(file) - 17, len(file) - 1}
	for n := range start {
		places = append(places, n)
	}
	for _, n := range places {
		bad := bytes.Clone(file)
		bad[n] ^= 1
		check(fmt.Sprintf("byte %d of %d changed", n, len(file)), bad)
	}
	check("data behind the end", append(bytes.Clone(file), 'x'))
	check("twice", append(bytes.Clone(file), file...))
	swapped := bytes.Clone(file)
	copy(swapped[start:], file[start+chunk:start+2*chunk])
	copy(swapped[start+chunk:], file[start:start+chunk])
	check("chunks in another order", swapped)
}

func TestInspect(t *testing.T) {
	_, to := newKey(t)
	file := sealed(t, pattern(chunkSize+1), to)
	head := seal.Size(0, 1) - 16
	for _, tt := range []struct {
		name string
		file []byte
		want string // part of the error
	}{
		{"whole", file, ""},
		{"cut in the middle of a chunk", file[:head+1000], ""}, // only a key shows it
		{"empty", nil, "not an age file"},
		{"other file", []byte("KDUMP   "), "not an age file"},
		{"version of the future", []byte("age-encryption.org/v2\n"), "not an age file"},
		{"only the first line", file[:22], "the header of the age file is damaged"},
		{"header without end", append([]byte(seal.Magic), bytes.Repeat([]byte("-> X25519 "), 1<<20)...), "the header of the age file is damaged"},
		{"no payload", file[:head], "truncated: the age file ends behind 0 bytes"},
		{"half a tag", file[:head+15], "truncated"},
		{"tag of the second chunk missing", file[:len(file)-2], "truncated: the age file ends behind 65536 bytes"},
		{"empty second chunk", file[:len(file)-1], "truncated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Inspect(bytes.NewReader(tt.file), int64(len(tt.file)))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// failing is a disk with a bad sector.
type failing struct {
	r   *bytes.Reader
	bad int64
}

var errDisk = errors.New("input/output error")

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.bad && f.bad < off+int64(len(p)) {
		return 0, errDisk
	}
	return f.r.ReadAt(p, off)
}

func TestDiskErrorIsNotDamage(t *testing.T) {
	ids, to := newKey(t)
	file := sealed(t, pattern(3*chunkSize), to)
	size := int64(len(file))
	for _, bad := range []int64{0, 100, size / 2, size - 1} {
		disk := &failing{bytes.NewReader(file), bad}
		if _, err := Decrypt(io.Discard, io.NewSectionReader(disk, 0, size), ids); !errors.Is(err, errDisk) {
			t.Errorf("bad byte %d: %v", bad, err)
		}
		r, err := Open(disk, size, ids)
		if err == nil {
			_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, size))
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("bad byte %d, by offsets: %v", bad, err)
		}
	}
}

func TestReadIdentities(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	key := id.String()
	for _, tt := range []struct{ name, text, want, advice string }{
		{"file of age-keygen", "# created: 2026-11-20T01:00:00Z\n# public key: " + id.Recipient().String() + "\n" + key + "\n", "", ""},
		{"no newline at the end", key, "", ""},
		{"line ends of Windows", key + "\r\n", "", ""},
		{"two keys", key + "\n\n" + pq.String() + "\n", "", ""},
		{"empty", "", "no private key", ""},
		{"comments", "# nothing\n", "no private key", ""},
		{"public key", id.Recipient().String() + "\n", "line 1: a public key", "Give the file"},
		{"cut", key[:len(key)-1] + "\n", "line 1: not a valid private key", ""},
		{"character changed", key[:30] + "I" + key[31:], "line 1: not a valid private key", ""},
		{"post-quantum key, cut", pq.String()[:50], "not a valid private key", ""},
		{"plugin", "AGE-PLUGIN-YUBIKEY-1QQQQQQQ\n", "key of a plugin", ""},
		{"protected", seal.Magic + "-> scrypt ", "protected by a passphrase", "age -d"},
		{"protected and armored", armorBegin + "\nYWdl\n", "protected by a passphrase", "age -d"},
		{"SSH key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "an SSH or TLS key", "age-keygen"},
		{"other text", "password123456789\n", "not a private key of age-keygen", ""},
		{"too large", strings.Repeat("#\n", maxIdentities), "larger than", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.txt")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			ids, err := ReadIdentities(path)
			if tt.want == "" {
				if err != nil || len(ids.list) == 0 {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(advice.For(err), tt.advice) {
				t.Fatalf("got %v, %q, want %s, %q", err, advice.For(err), tt.want, tt.advice)
			}
			if strings.Contains(err.Error(), key[20:30]) || strings.Contains(err.Error(), "password123") {
				t.Errorf("the message shows a part of the key: %v", err)
			}
		})
	}
	if _, err := ReadIdentities(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// A file that Inspect accepts has the size of its content that the library finds.
func FuzzHeader(f *testing.F) {
	ids, to := newKey(f)
	file := sealed(f, []byte("content"), to, to)
	f.Add(file)
	f.Add(file[:100])
	f.Add([]byte(seal.Magic + "-> a-grease x\n\n-> X25519 x\n\n--- x\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := bytes.NewReader(file)
		info, err := Inspect(r, int64(len(file)))
		if err == nil && (info.Plain < 0 || info.Header+info.Plain > int64(len(file)) || info.Recipients > len(file)) {
			t.Errorf("%+v of %d bytes", info, len(file))
		}
		o, oerr := Open(r, int64(len(file)), ids)
		if oerr == nil && (err != nil || o.Size() != info.Plain) {
			t.Errorf("%d bytes, Inspect says %+v, %v", o.Size(), info, err)
		}
		if _, derr := Decrypt(io.Discard, r, ids); derr == nil && oerr != nil {
			t.Errorf("whole for Decrypt, but: %v", oerr)
		}
	})
}

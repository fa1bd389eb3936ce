package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"ukdump/internal/dm"
	"ukdump/internal/fsid"
)

// CryptVolume has the parameters of dm-crypt for a LUKS volume, as in its table
// (Documentation/admin-guide/device-mapper/dm-crypt.rst), without the key.
type CryptVolume struct {
	UUID     string `json:"uuid"`                // of the LUKS header
	Cipher   string `json:"cipher"`              // aes-xts-plain64
	KeyBytes int    `json:"key_bytes"`           // length of the key
	InTable  bool   `json:"in_table,omitempty"`  // the table shows the key, instead of referring to the kernel's keyring
	IVOffset uint64 `json:"iv_offset,omitempty"` // in sectors of 512 bytes
	Offset   uint64 `json:"offset"`              // of the data on the device below, in sectors of 512 bytes
	Sectors  uint64 `json:"sectors"`             // length, in sectors of 512 bytes
	// SectorSize is the unit of encryption in bytes; 0 for 512.
	SectorSize uint64   `json:"sector_size,omitempty"`
	Options    []string `json:"options,omitempty"`  // those that change the data on the disk
	Segments   string   `json:"segments,omitempty"` // of LUKS2, the object of that name in the JSON of its header
}

// Table returns the table in use of a device of device-mapper. It may show a key.
// Recorded machines have it in a file "table" beside the others in sysfs, in the
// words of dmsetup(8).
func (h *Host) Table(b BlockDevice) ([]dm.Target, error) {
	text, err := h.read(path.Join(b.Path, "dm/table"))
	if err == nil {
		return parseTable(text)
	}
	if h.root != "/" {
		return nil, err
	}
	c, err := dm.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Table(b.DMName)
}

// parseTable reads the output of dmsetup table for one device: start, length, type
// and parameters on each line.
func parseTable(text string) ([]dm.Target, error) {
	var table []dm.Target
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(f) < 3 {
			return nil, fmt.Errorf("table %.80q: too few words", line)
		}
		var t dm.Target
		var err error
		if t.Start, err = strconv.ParseUint(f[0], 10, 64); err != nil {
			return nil, fmt.Errorf("table: start: %w", err)
		}
		if t.Length, err = strconv.ParseUint(f[1], 10, 64); err != nil {
			return nil, fmt.Errorf("table: length: %w", err)
		}
		if t.Type = f[2]; len(f) > 3 {
			t.Params = f[3]
		}
		table = append(table, t)
	}
	return table, nil
}

// addCrypt fills in how the LUKS volumes of a stack are made. The error is an
// *UnsupportedError about dir if the capture kernel could not make one of them.
func (h *Host) addCrypt(dir string, stack []BlockDevice) error {
	for i := range stack {
		b := &stack[i]
		if b.Kind != Crypt {
			continue
		}
		c, err := h.crypt(dir, *b, stack)
		if err != nil {
			return err
		}
		b.Crypt = c
	}
	return nil
}

func (h *Host) crypt(dir string, b BlockDevice, stack []BlockDevice) (*CryptVolume, error) {
	refuse := func(why string) error {
		return &UnsupportedError{Dir: dir, Obstacle: Encrypted, What: "LUKS volume", Name: fmt.Sprintf("%s (%s)", b.DMName, b.Name), Why: why}
	}
	uuid, ok := luksUUID(b.DMUUID)
	if !ok {
		return nil, &UnsupportedError{
			Dir: dir, Obstacle: NoHeader, What: "dm-crypt volume", Name: fmt.Sprintf("%s (%s)", b.DMName, b.Name), Why: "no LUKS header identifies it",
		}
	}
	table, err := h.Table(b)
	if err != nil {
		return nil, fmt.Errorf("table of %s (%s): %w", b.DMName, b.Name, err)
	}
	switch {
	case len(table) != 1 || len(b.Below) != 1:
		return nil, refuse("re-encryption in progress, or more than one device below")
	case table[0].Type != "crypt":
		// Such as linear with cryptsetup --hw-opal-only, where the disk itself encrypts.
		return nil, refuse("its target of device-mapper is " + table[0].Type + ", not crypt")
	}
	c, integrity, err := parseCrypt(table[0].Params)
	if err != nil {
		return nil, fmt.Errorf("table of %s (%s): %w", b.DMName, b.Name, err)
	}
	if integrity {
		return nil, refuse("integrity protection (dm-integrity)")
	}
	c.UUID, c.Sectors = uuid, table[0].Length
	c.Segments, err = h.luksSegments(b.Below[0], stack)
	if errors.Is(err, fsid.ErrUnknown) {
		return nil, refuse("its header is not on " + b.Below[0] + ", where the data is")
	}
	if err != nil {
		return nil, fmt.Errorf("LUKS header of %s (%s): %w", b.DMName, b.Below[0], err)
	}
	return c, nil
}

func (h *Host) luksSegments(name string, stack []BlockDevice) (string, error) {
	for _, b := range stack {
		if b.Name == name {
			f, err := h.openBlock(b)
			if err != nil {
				return "", err
			}
			defer f.Close()
			text, err := fsid.LUKSText(f)
			if err != nil || len(text) == 0 {
				return "", err
			}
			return parseSegments(text)
		}
	}
	return "", os.ErrNotExist
}

// parseSegments returns the object "segments" of the JSON of a LUKS2 header, byte
// for byte. While a volume is re-encrypted it is different from before.
func parseSegments(text []byte) (string, error) {
	var header struct {
		Segments json.RawMessage `json:"segments"`
	}
	if err := json.Unmarshal(text, &header); err != nil {
		return "", err
	}
	if len(header.Segments) == 0 {
		return "", errors.New("no segments")
	}
	return string(header.Segments), nil
}

// luksUUID returns the UUID of the LUKS header from that which cryptsetup(8)
// gives the device: CRYPT-LUKS2-, the UUID without dashes, the name.
func luksUUID(dmUUID string) (uuid string, ok bool) {
	f := strings.SplitN(dmUUID, "-", 4)
	if len(f) != 4 || f[0] != "CRYPT" || f[1] != "LUKS1" && f[1] != "LUKS2" || len(f[2]) != 32 {
		return "", false
	}
	u := f[2]
	return u[:8] + "-" + u[8:12] + "-" + u[12:16] + "-" + u[16:20] + "-" + u[20:], true
}

// speedOptions change nothing but how the work is done, and not every kernel
// knows them.
var speedOptions = map[string]bool{
	"same_cpu_crypt": true, "submit_from_crypt_cpus": true, "no_read_workqueue": true,
	"no_write_workqueue": true, "high_priority": true,
}

// parseCrypt reads the parameters of a target of type crypt: cipher, key, IV
// offset, device, offset, number of options, options. integrity says that it
// keeps something beside each sector.
func parseCrypt(params string) (c *CryptVolume, integrity bool, err error) {
	f := strings.Fields(params)
	if len(f) < 5 {
		return nil, false, fmt.Errorf("%d words", len(f)) // one of which may be a key
	}
	c = &CryptVolume{Cipher: f[0]}
	if key := f[1]; strings.HasPrefix(key, ":") {
		n, _, _ := strings.Cut(key[1:], ":")
		if c.KeyBytes, err = strconv.Atoi(n); err != nil {
			return nil, false, fmt.Errorf("length of the key: %w", err)
		}
	} else {
		c.KeyBytes, c.InTable = len(key)/2, true
	}
	if c.IVOffset, err = strconv.ParseUint(f[2], 10, 64); err != nil {
		return nil, false, fmt.Errorf("IV offset: %w", err)
	}
	if c.Offset, err = strconv.ParseUint(f[4], 10, 64); err != nil {
		return nil, false, fmt.Errorf("offset: %w", err)
	}
	if len(f) > 5 {
		for _, o := range f[6:] {
			integrity = integrity || strings.HasPrefix(o, "integrity")
			if !speedOptions[o] {
				c.Options = append(c.Options, o)
			}
			if v, ok := strings.CutPrefix(o, "sector_size:"); ok {
				n, err := strconv.ParseUint(v, 10, 16)
				if err != nil || n < 512 || n&(n-1) != 0 {
					return nil, false, fmt.Errorf("%q is not a size of sectors", o)
				}
				c.SectorSize = n
			}
		}
	}
	return c, integrity, nil
}

package bootloader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"

	"ukdump/internal/crashdir"
)

const (
	efivars = "/sys/firmware/efi/efivars/"

	// loaderVendor has the variables of the Boot Loader Interface of systemd, which GRUB
	// (its module bli), rEFInd, Limine and the stub of new kernels set, too.
	loaderVendor = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	// globalVendor has the variables of the firmware (UEFI specification 3.3).
	globalVendor = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

	maxVariable = 64 << 10 // bytes; firmware has 32 KiB or less for one
)

// efiVariable returns the data of an EFI variable (Documentation/filesystems/efivarfs.rst),
// nil if it cannot be read.
func (s *System) efiVariable(name, vendor string) []byte {
	file, err := s.file(efivars + name + "-" + vendor)
	if err != nil {
		return nil
	}
	data, err := crashdir.ReadFile(file, maxVariable)
	if err != nil || len(data) < 4 {
		return nil
	}
	return data[4:] // behind the attributes
}

// efiString returns the text of a variable of the Boot Loader Interface, "" if it cannot
// be read.
func (s *System) efiString(name string) string {
	text, _ := utf16String(s.efiVariable(name, loaderVendor))
	return text
}

// utf16String returns the text up to the first zero, in UTF-8, and the bytes that it takes
// with the zero.
func utf16String(b []byte) (text string, n int) {
	var units []uint16
	for ; n+1 < len(b); n += 2 {
		u := binary.LittleEndian.Uint16(b[n:])
		if u == 0 {
			return string(utf16.Decode(units)), n + 2
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units)), len(b)
}

// A loadOption is an entry of the firmware's boot menu: EFI_LOAD_OPTION of the UEFI
// specification, 3.1.3.
type loadOption struct {
	Title string
	Path  string // in the partition, with backslashes; "" if it is not a file
}

// parseLoadOption reads the data of a variable Boot####.
func parseLoadOption(b []byte) (loadOption, error) {
	if len(b) < 6 {
		return loadOption{}, errors.New("shorter than the head of a load option")
	}
	size := int(binary.LittleEndian.Uint16(b[4:]))
	title, n := utf16String(b[6:])
	list := b[6+n:]
	if len(list) < size {
		return loadOption{}, fmt.Errorf("device path of %d bytes in %d", size, len(list))
	}
	list = list[:size]
	var elems []string
	for len(list) >= 4 {
		kind, sub := list[0], list[1]
		length := int(binary.LittleEndian.Uint16(list[2:]))
		if length < 4 || length > len(list) {
			return loadOption{}, fmt.Errorf("node of %d bytes in a device path of %d", length, len(list))
		}
		if kind == 0x7f { // the end of the first path; further ones are hints
			break
		}
		if kind == 4 && sub == 4 { // a file, or a part of its path
			elem, _ := utf16String(list[4:length])
			elems = append(elems, strings.Trim(elem, `\`))
		}
		list = list[length:]
	}
	o := loadOption{Title: title}
	if len(elems) > 0 {
		o.Path = `\` + strings.Join(elems, `\`)
	}
	return o, nil
}

// bootOption returns the entry of the firmware's menu that started this boot; ok is false
// if it is not known.
func (s *System) bootOption() (o loadOption, ok bool) {
	current := s.efiVariable("BootCurrent", globalVendor)
	if len(current) < 2 {
		return o, false
	}
	name := fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(current))
	o, err := parseLoadOption(s.efiVariable(name, globalVendor))
	return o, err == nil
}

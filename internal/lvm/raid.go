package lvm

import "strconv"

// WithoutMissing takes members out of the parameters of a raid target of which a
// device is missing, that is "": both are "-" then. The list ends the parameters:
// the number of members, and a device for metadata and one for data of each
// (Documentation/admin-guide/device-mapper/dm-raid.rst).
func WithoutMissing(words []string) {
	if len(words) < 2 {
		return
	}
	n, err := strconv.Atoi(words[1])
	if err != nil || n < 0 || n > len(words)-3 {
		return
	}
	for list := words[3+n:]; len(list) >= 2; list = list[2:] {
		if list[0] == "" || list[1] == "" {
			list[0], list[1] = "-", "-"
		}
	}
}

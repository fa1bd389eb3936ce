package lvm

import "strconv"

// WithoutMissing replaces missing members in the parameters of a raid target. If one
// of a member's two devices is missing, that is "", both become "-". The list ends the
// parameters: the number of members, and a device for metadata and one for data of
// each (Documentation/admin-guide/device-mapper/dm-raid.rst).
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

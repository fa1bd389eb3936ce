package verify

import (
	"errors"
	"fmt"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/host"
)

// Units that have to be enabled.
const (
	LoadUnit     = "ukdump.service"
	CollectUnit  = "ukdump-collect.service"
	AnnounceUnit = "ukdump-announce.service"
)

// OtherTools returns the problem that another tool is enabled, which loads its own
// capture kernel over ours at the next boot, nil if none is known.
func OtherTools(root string) error {
	units := host.KdumpTools(root)
	if len(units) == 0 {
		return nil
	}
	return advice.With(fmt.Errorf("%s is enabled, too: at the next boot it loads its own capture kernel, perhaps over this one", strings.Join(units, ", ")),
		"Run systemctl disable "+strings.Join(units, " ")+".")
}

// Units returns the problem that the protection of now ends with the next boot, nil
// if it does not. raw are the raw targets.
func Units(root string, raw []string) error {
	const enable = "Run systemctl enable ukdump.service."
	if !host.UnitEnabled(root, LoadUnit) {
		return advice.With(errors.New("no capture kernel is loaded at the next boot: "+LoadUnit+" is not enabled"), enable)
	}
	if len(raw) > 0 && !host.UnitEnabled(root, CollectUnit) {
		return advice.With(errors.New("a dump on "+raw[0]+" is not collected after the reboot: "+CollectUnit+" is not enabled"), enable)
	}
	return nil
}

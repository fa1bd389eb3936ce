package config

import (
	"fmt"

	"ukdump/internal/plan"
)

// mode is a value of MODE.
type mode string

const (
	dedicated mode = "dedicated" // an image of our own
	emergency mode = "emergency" // the distribution's own initramfs
)

// Emergency reports whether the capture kernel is to start the distribution's own
// initramfs and system: MODE=emergency, or no MODE and a file for INITRAMFS, as in
// a simple-kdump.conf.
func (c *Config) Emergency() bool {
	return c.mode == emergency || c.mode == "" && c.Initramfs != ""
}

// modeError is a key without meaning in the mode.
type modeError struct {
	where, text, advice string
}

func (e *modeError) Error() string { return e.where + ": " + e.text }

// Advice returns the change to make.
func (e *modeError) Advice() string { return e.advice }

// checkMode returns an error for a key that contradicts the mode. It runs after all
// files, as a later file may change either. The error is a *modeError.
func (c *Config) checkMode() error {
	if !c.Emergency() {
		if c.Initramfs != "" {
			return &modeError{c.Where("INITRAMFS"), "INITRAMFS=" + brief(c.Initramfs) + ": MODE=dedicated builds its own image",
				"Remove one of both lines: without MODE, INITRAMFS means MODE=emergency."}
		}
		return nil
	}
	for _, t := range c.Targets {
		if t.Remote() {
			return &modeError{c.Where("TARGET"), fmt.Sprintf("TARGET: %s: MODE=emergency writes to directories only", brief(t.String())),
				"Mount it with the distribution's means and name its directory, or use MODE=dedicated."}
		}
		if t.Raw() && c.IsSet("TARGET") {
			return &modeError{c.Where("TARGET"), fmt.Sprintf("TARGET: %s: MODE=emergency writes to directories only", brief(t.String())),
				"Remove the raw device from TARGET, or use MODE=dedicated."}
		}
	}
	if len(c.Encrypt) > 0 {
		return &modeError{c.Where("ENCRYPT"), "ENCRYPT: MODE=emergency writes dumps that are not encrypted", "Remove ENCRYPT, or use MODE=dedicated."}
	}
	if c.FailureAction == plan.Shell {
		return &modeError{c.Where("FAILURE_ACTION"), "FAILURE_ACTION=shell: MODE=emergency has no shell", "Use reboot, poweroff or halt."}
	}
	return nil
}

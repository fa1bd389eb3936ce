// Package kfeature is the table of everything that a capture needs of a kernel: which
// releases have it, which option builds it, who relies on it and where that is written.
// A new fact is a row: of require.go for every capture, of filesystem.go for a property
// of a superblock, of partition.go for a partition table, of driver.go for a driver, of
// words.go for a word of the command line, of features.go for the rest.
package kfeature

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is a version of Linux, such as {6, 16}. The zero Version stands for none.
type Version [2]int

func (v Version) String() string { return fmt.Sprintf("%d.%d", v[0], v[1]) }

// After reports whether a kernel release, as uname -r prints it, is older than v.
// It is false for releases that do not begin with two numbers.
func (v Version) After(release string) bool {
	n, ok := parse(release)
	return ok && (n[0] < v[0] || n[0] == v[0] && n[1] < v[1])
}

// parse reads the two numbers at the beginning of a release.
func parse(release string) (v Version, ok bool) {
	rest := release
	for i := range v {
		end := 0
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(rest[:end])
		if err != nil {
			return Version{}, false
		}
		v[i], rest = n, strings.TrimPrefix(rest[end:], ".")
	}
	return v, true
}

// By names the part of a capture that relies on a feature.
type By string

// The parts of a capture.
const (
	PID1        By = "PID 1"
	Collector   By = "makedumpfile"
	Target      By = "the target"
	CommandLine By = "the command line"
	Image       By = "the image"
	Systemd     By = "systemd" // in emergency mode
	Reservation By = "the reservation"
)

// Feature is one fact about kernels. It is comparable.
type Feature struct {
	Name   string  // the field's term for it
	By     By      // who relies on it
	Since  Version // the first version that has it; zero if every supported version has it
	Until  Version // the first version that has it no more; zero if none is known
	Arch   string  // the GOARCH that it is for; "" for all
	Option string  // CONFIG_ name that the feature needs; "" if none
	Item   string  // if Option is a quoted list: the word that must be in it
	Shared bool    // Option is older than the feature or for more than it: set, it proves nothing
	// OptionSince and OptionUntil are the first versions with and without Option. Zero
	// is no bound. Kernels outside of them have the feature, or lack it, without
	// asking; before OptionSince they ask for OptionBefore, if it is not empty.
	OptionSince, OptionUntil Version
	OptionBefore             string
	Why                      string // why ukdump cares
	Source                   string // where the fact is from: Documentation/ path, header, source file
}

// Config is the configuration of a kernel; a *kimage.Config is one, also if nil.
type Config interface {
	Known() bool
	Get(option string) string // "n" if it is not set
	Names(option string) bool // false if it is neither set nor "not set"
}

// Answer says whether a kernel has a feature.
type Answer int

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// In says whether the kernel of a release and a configuration has f. The
// configuration, which may be nil, decides if it is known and names the option:
// distributions backport features to older releases.
func (f Feature) In(release string, conf Config) Answer {
	byAge := within(release, f.Since, f.Until)
	option, certain := f.option(release)
	known := conf != nil && conf.Known()
	if known && (f.set(conf.Get(f.Option)) || f.set(conf.Get(option))) {
		if f.Shared {
			return byAge
		}
		return Yes
	}
	switch {
	case known && conf.Names(f.Option):
		return No
	case option == "" && certain, byAge == No:
		return byAge
	case known && certain:
		return No
	}
	return Unknown // new enough, but perhaps built without it
}

// OptionIn returns the name of the option that f needs in a release, "" if it needs
// none.
func (f Feature) OptionIn(release string) string {
	option, _ := f.option(release)
	return option
}

// option is OptionIn. certain is false if the release does not say.
func (f Feature) option(release string) (option string, certain bool) {
	switch within(release, f.OptionSince, f.OptionUntil) {
	case Yes:
		return f.Option, true
	case No:
		if f.OptionSince.After(release) {
			return f.OptionBefore, true
		}
		return "", true
	}
	return f.Option, false
}

// For reports whether f is about kernels of an architecture (a GOARCH).
func (f Feature) For(arch string) bool { return f.Arch == "" || f.Arch == arch }

// within says whether a release is one from since on and before until.
func within(release string, since, until Version) Answer {
	_, ok := parse(release)
	switch {
	case since == Version{} && until == Version{}:
		return Yes
	case !ok:
		return Unknown
	case since.After(release), until != Version{} && !until.After(release):
		return No
	}
	return Yes
}

// set reports whether the value of an option, as in a configuration, has f.
func (f Feature) set(value string) bool {
	switch value {
	case "n", "", "0", `""`:
		return false
	}
	return f.Item == "" || slices.Contains(strings.Split(strings.Trim(value, `"`), ","), f.Item)
}

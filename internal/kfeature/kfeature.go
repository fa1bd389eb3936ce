// Package kfeature is the table of facts about Linux kernels: the first release that
// has a feature, and the option that builds it. A new fact is a row of features.go.
package kfeature

import (
	"fmt"
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

// Feature is one fact about kernels. It is comparable.
type Feature struct {
	Name   string  // the field's term for it
	Since  Version // the first version that has it; zero if every supported version has it
	Option string  // CONFIG_ name that the feature needs; "" if none
	Why    string  // why ukdump cares
	Source string  // where the fact is from: Documentation/ path, header, source file
}

// Config is the configuration of a kernel; a *kimage.Config is one, also if nil.
type Config interface {
	Known() bool
	Get(option string) string // "n" if it is not set
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
// configuration, which may be nil, decides if it is known and f has an option:
// distributions backport features to older releases.
func (f Feature) In(release string, conf Config) Answer {
	if f.Option != "" && conf != nil && conf.Known() {
		if conf.Get(f.Option) == "n" {
			return No
		}
		return Yes
	}
	_, ok := parse(release)
	switch {
	case f.Since == Version{} || !ok:
		return Unknown
	case f.Since.After(release):
		return No
	case f.Option != "":
		return Unknown // new enough, but perhaps built without it
	}
	return Yes
}

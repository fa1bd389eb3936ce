package bootloader

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ukdump/internal/advice"
)

// All returns the loaders that ukdump knows, in the order in which they are listed.
func All() []Loader {
	return slices.Clone(loaders)
}

var loaders = []Loader{
	grub{},
	bls{},
	systemdBoot{},
	uki{},
	limine{},
	refind{},
	extlinux{},
	uBootMenu,
	updateExtlinux,
	flashKernel{},
	raspberryPi{},
	ostree{},
	nixos{},
}

// Detect returns the loaders that are installed. Errors of single loaders count only if no
// other one is known to have started the running kernel.
func Detect(s *System) ([]Found, error) { return detect(s, loaders) }

func detect(s *System, loaders []Loader) ([]Found, error) {
	var founds []Found
	var errs []error
	for _, l := range loaders {
		f, err := l.Find(s)
		if err != nil {
			errs = append(errs, &FindError{l.Name(), err})
		}
		if f != nil && err == nil {
			founds = append(founds, *f)
		}
	}
	if slices.ContainsFunc(founds, func(f Found) bool { return f.Booted == Yes }) {
		return founds, nil
	}
	if err := errors.Join(errs...); err != nil {
		return founds, err
	}
	if len(founds) > 0 {
		return founds, nil
	}
	return nil, s.noLoader()
}

// A FindError is the error of a loader that cannot be told to be installed or not.
type FindError struct {
	Loader string
	Err    error
}

func (e *FindError) Error() string {
	return fmt.Sprintf("detect the boot loader %s: %v", e.Loader, e.Err)
}

// Unwrap returns the error without the loader.
func (e *FindError) Unwrap() error { return e.Err }

// FindErrors returns the errors of single loaders in an error of Detect.
func FindErrors(err error) []*FindError {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	var found []*FindError
	for _, err := range list {
		var e *FindError
		if errors.As(err, &e) {
			found = append(found, e)
		}
	}
	return found
}

// noLoader is the error on a machine without a loader that ukdump knows.
func (s *System) noLoader() error {
	e := s.evidence()
	err := errors.New("no boot loader found that ukdump knows")
	if e.program == "" {
		return advice.With(err, "Add the words to the kernel's command line by hand.")
	}
	err = fmt.Errorf("%w: %s started the kernel, as %s", err, e.program, e.because)
	return advice.With(err, "Add the words to the command line that "+e.program+" gives the kernel.")
}

// Choose returns the loader called name, or, if name is empty, the one of the founds that
// started the running kernel. If that is not known, it must be the only one.
func Choose(founds []Found, name string) (Loader, error) { return choose(loaders, founds, name) }

func choose(loaders []Loader, founds []Found, name string) (Loader, error) {
	if name != "" {
		return byName(loaders, founds, name)
	}
	for _, booted := range []Booted{Yes, Unknown} {
		var names []string
		for _, f := range founds {
			if f.Booted == booted {
				names = append(names, f.Loader)
			}
		}
		switch {
		case len(names) == 1:
			return byName(loaders, founds, names[0])
		case len(names) > 1:
			return nil, &AmbiguousError{Founds: founds}
		}
	}
	return nil, &AmbiguousError{Founds: founds}
}

// Known returns an error that lists the loaders if none has that name.
func Known(name string) error {
	_, err := lookUp(loaders, name)
	return err
}

func lookUp(loaders []Loader, name string) (Loader, error) {
	i := slices.IndexFunc(loaders, func(l Loader) bool { return l.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown boot loader %.40q: known ones are %s", name, names(loaders))
	}
	return loaders[i], nil
}

func names(loaders []Loader) string {
	var known []string
	for _, l := range loaders {
		known = append(known, l.Name())
	}
	return strings.Join(known, ", ")
}

func byName(loaders []Loader, founds []Found, name string) (Loader, error) {
	l, err := lookUp(loaders, name)
	if err != nil || slices.ContainsFunc(founds, func(f Found) bool { return f.Loader == name }) {
		return l, err
	}
	return nil, advice.With(fmt.Errorf("the boot loader %s is not installed", name), "Omit --loader: kdumpctl setup then prints the boot loader of this machine.")
}

// An AmbiguousError says that the loader of the running kernel is not known.
type AmbiguousError struct{ Founds []Found }

func (e *AmbiguousError) Error() string {
	if len(e.Founds) == 0 {
		return "no boot loader found"
	}
	var list []string
	for _, f := range e.Founds {
		item := f.Loader
		if len(f.Files) > 0 {
			item += " (" + f.Files[0] + ")"
		}
		if f.Because != "" && f.Booted == No {
			item += ", although " + f.Because
		}
		list = append(list, item)
	}
	return "the boot loader of this kernel is ambiguous; installed: " + strings.Join(list, "; ")
}

// Advice names the option that decides.
func (e *AmbiguousError) Advice() string {
	var names []string
	for _, f := range e.Founds {
		names = append(names, "--loader="+f.Loader)
	}
	if len(names) == 0 {
		return ""
	}
	return "Choose one: " + strings.Join(names, " or ") + "."
}

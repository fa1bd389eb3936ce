package kexec

// NotReserved returns the *Error with the reason why Reserved is 0.
func (s *Slot) NotReserved() error {
	e := &Error{Op: "load capture kernel"}
	s.noRoom(e, 0, 0)
	return e
}

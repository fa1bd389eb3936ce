package advice

// SetUser has For see the effective user ID euid until restore is called. The tests are a
// package of their own, as packages that they import give advice.
func SetUser(euid int) (restore func()) {
	before := geteuid
	geteuid = func() int { return euid }
	return func() { geteuid = before }
}

package ctl

// emergency reports whether the image is the distribution's own initramfs.
func (v *verification) emergency() bool { return v.conf.Emergency() }

// checkSystem looks at what takes the place of our own modules and programs in
// emergency mode: those of the installed system.
func (v *verification) checkSystem() {
	v.note("drivers", "MODE=emergency: %s has to open the storage as at every boot; it was not looked into", v.image.path)
	if !v.canForecast() {
		v.note("makedumpfile", "it was not tried on the running kernel")
		return
	}
	ask := v.memUsage
	if ask == nil {
		ask = func(program string) ([]byte, error) { return runMemUsage(program) }
	}
	v.tryMakedumpfile(v.build.Makedumpfile, func() ([]byte, error) { return ask(v.build.Makedumpfile) })
}

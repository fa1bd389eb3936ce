package ctl

import (
	"errors"
	"fmt"

	"ukdump/internal/advice"
	"ukdump/internal/kexec"
)

// afterFailure makes the best of a load that failed: if nothing is loaded now,
// because the kernel has dropped it or because this is the first load since
// boot, it loads the last good set. The error says what is loaded then.
func (c *ctl) afterFailure(err error) error {
	loaded, slotErr := c.kexec.Loaded()
	if slotErr != nil {
		return err
	}
	if loaded {
		return fmt.Errorf("%w; %s", err, c.stillLoaded(err))
	}
	if e := c.forgetLoaded(); e != nil {
		c.Warn(e.Error())
	}
	s, lastErr := c.loadLastGood(err.Error())
	var a, b *kexec.Error
	switch {
	case lastErr == nil:
		return fmt.Errorf("%w; %s", err, "loaded instead: the last good set, "+s.String())
	case errors.Is(lastErr, errNoLastGood):
		return fmt.Errorf("%w; %s", err, "nothing is loaded now, and there is no last good set")
	case errors.As(err, &a) && errors.As(lastErr, &b) && a.Cause == b.Cause: // once is enough
		return fmt.Errorf("%w; %s", err, "nothing is loaded now, as the last good set fails likewise")
	}
	return fmt.Errorf("%w; %s", err, "nothing is loaded now, as this failed too: "+lastErr.Error())
}

// stillLoaded says what is loaded although a load has failed.
func (c *ctl) stillLoaded(failed error) string {
	l := c.readLoaded()
	switch {
	case l == nil:
		return "what was loaded before is still loaded"
	case l.Fallback == "":
		return "still loaded: " + l.String()
	}
	if l.Fallback != failed.Error() {
		l.Fallback = failed.Error()
		c.remember(l)
	}
	return "loaded instead: the last good set, " + l.String()
}

// bridge loads the last good set where nothing is loaded and something has to be
// done first that takes a while; until says what.
func (c *ctl) bridge(until string) {
	if !c.canSpareLoad() {
		return
	}
	s, err := c.loadLastGood("it did not come to its end")
	if err == nil {
		c.Say("loaded the last good set, %s, until %s", s, until)
	} else if !errors.Is(err, errNoLastGood) {
		c.Warn(err.Error())
	}
}

// fallbackError says that the last good set is loaded and why, nil if it is not.
func fallbackError(l *loaded) error {
	if l == nil || l.Fallback == "" {
		return nil
	}
	return advice.With(errors.New("the last good set is loaded, because the last load failed: "+l.Fallback), "Correct that and run kdumpctl reload.")
}

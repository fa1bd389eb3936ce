package load

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"ukdump/initramfs"
	"ukdump/internal/advice"
	"ukdump/internal/builder"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/demand"
	"ukdump/internal/host"
	"ukdump/internal/kexec"
	"ukdump/internal/kimage"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// afterFailure makes the best of a load that failed: if nothing is loaded now,
// because the kernel has dropped it or because this is the first load since
// boot, it loads the fallback set. The error names the set that is loaded then.
func (ld *Loader) afterFailure(err error) error {
	loaded, slotErr := ld.Slot.Loaded()
	if slotErr != nil {
		return err
	}
	if loaded {
		return fmt.Errorf("%w; %s", err, ld.stillLoaded(err))
	}
	if e := ld.Store.ForgetLoaded(); e != nil {
		ld.Out.Warn(e.Error())
	}
	s, lastErr := ld.loadFallback(err.Error())
	var a, b *kexec.Error
	switch {
	case lastErr == nil:
		return fmt.Errorf("%w; loaded instead: the fallback set, %s", err, s)
	case errors.Is(lastErr, state.ErrNoFallback):
		return fmt.Errorf("%w; nothing is loaded now, and no fallback set exists", err)
	case errors.As(err, &a) && errors.As(lastErr, &b) && a.Cause == b.Cause: // once is enough
		return fmt.Errorf("%w; nothing is loaded now, as the fallback set fails with the same error", err)
	}
	return fmt.Errorf("%w; nothing is loaded now, as this failed too: %v", err, lastErr)
}

// stillLoaded names the set that is loaded although a load has failed.
func (ld *Loader) stillLoaded(failed error) string {
	rec := ld.Store.Loaded()
	switch {
	case rec == nil:
		return "the earlier capture kernel is still loaded"
	case rec.Fallback == "":
		return "still loaded: " + rec.String()
	}
	if rec.Fallback != failed.Error() {
		rec.Fallback = failed.Error()
		ld.remember(rec)
	}
	return "loaded instead: the fallback set, " + rec.String()
}

// bridge loads the fallback set where nothing is loaded and something has to be
// done first that takes a while; until names it.
func (ld *Loader) bridge(until string) {
	if !ld.canSpareLoad() {
		return
	}
	s, err := ld.loadFallback("the last load was interrupted")
	if err == nil {
		ld.Out.Say("loaded the fallback set, %s, until %s", s, until)
	} else if !errors.Is(err, state.ErrNoFallback) {
		ld.Out.Warn(err.Error())
	}
}

// FallbackProblem says that the fallback set is loaded and why, nil if it is not.
func FallbackProblem(rec *state.LoadRecord) error {
	if rec == nil || rec.Fallback == "" {
		return nil
	}
	return advice.With(errors.New("the fallback set is loaded, because the last load failed: "+rec.Fallback), "Correct that and run kdumpctl reload.")
}

// loadFallback loads the fallback set because of what failed.
func (ld *Loader) loadFallback(failed string) (*state.Set, error) {
	s, kernelData, imageData, err := ld.Store.Fallback()
	if err != nil {
		return nil, err
	}
	s.Fallback = failed
	if ld.Keys.Check(s.Keys, ld.takenKeys()) != nil {
		if s.Keys, err = ld.keysLeft(imageData); err != nil {
			return nil, err
		}
	}
	return s, ld.putSet(s, kernelData, imageData)
}

// putSet hands a set that was read from the disk to the kernel.
func (ld *Loader) putSet(s *state.Set, kernelData, imageData []byte) error {
	image, err := kimage.Parse(s.Kernel, kernelData)
	if err != nil {
		return err
	}
	// The file in place of a copy in memory, for a policy which looks at it. It
	// was read just now, and nobody else writes here.
	kernel, err := os.Open(ld.Store.KernelCopy(s.KernelID))
	if err != nil {
		if kernel, err = Memfd(s.Kernel, kernelData); err != nil {
			return err
		}
	}
	defer kernel.Close()
	initrd, err := initrdFile(s.Image, imageData, s.Seeded)
	if err != nil {
		return err
	}
	defer initrd.Close()
	return ld.put(s, withFacts(kernel, image), initrd, ld.configOf(image))
}

// configOf returns the configuration of a small kernel, nil if it is not known: then its
// memory is estimated like that of a distribution's kernel. The search may have to unpack
// a kernel, and a crash does not wait for a large one.
func (ld *Loader) configOf(image *kimage.Image) *kimage.Config {
	if image.InitSize > uint64(demand.SmallKernel) {
		return nil
	}
	h, err := host.Open(ld.Root)
	if err != nil {
		return nil
	}
	conf, _ := image.Config(h, ld.Root)
	return conf
}

// keysLeft chooses among the keys of an image when one has gone.
func (ld *Loader) keysLeft(image []byte) ([]cryptkeys.Key, error) {
	contents, err := builder.Inspect(initramfs.Open(bytes.NewReader(image)))
	if err != nil {
		return nil, err
	}
	p, err := plan.Parse(contents.Plan)
	if err != nil {
		return nil, err
	}
	return ld.chooseKeys(p)
}

package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ukdump/internal/builder"
	"ukdump/internal/cli"
	"ukdump/internal/config"
	"ukdump/internal/makedumpfile/memusage"
	"ukdump/internal/state"
)

// How long makedumpfile may look at the memory of the running kernel: while a person
// waits, and in ukdump-forecast.service, for which nobody does.
const (
	TryLimit     = 30 * time.Second
	tryLimitUnit = 10 * time.Minute
)

// askMakedumpfile returns the output of makedumpfile --mem-usage for the running
// kernel.
func (ld *Loader) askMakedumpfile(limit time.Duration, argv []string) ([]byte, error) {
	if ld.MemUsage != nil {
		return ld.MemUsage(argv[len(argv)-1])
	}
	task := ld.Out.Begin("trying makedumpfile on the running kernel")
	defer task.End()
	return memusage.Run(limit, argv...)
}

// ForecastWith is the forecast for dumps at that level by a makedumpfile. The words of
// argv are the program, or its dynamic linker with options and, last, the program.
//
// It also shows whether that program understands this kernel: makedumpfile warns about
// kernels that it works with, and is silent about some that it does not.
func (ld *Loader) ForecastWith(limit time.Duration, level int, argv ...string) *state.Forecast {
	f := &state.Forecast{Release: ld.Store.Running()}
	if ld.Slot.Lockdown() == "confidentiality" {
		f.Problem = "the kernel is locked down and hides its memory (lockdown=confidentiality)"
		return f
	}
	table, err := ld.countPages(limit, argv)
	f.Late = errors.Is(err, memusage.ErrLate)
	if errors.Is(err, memusage.ErrMisread) {
		f.Verdict = state.Misread
	}
	if err != nil {
		f.Problem = err.Error()
		if f.Verdict == state.Untried && !f.Late && memusage.Reads(limit, ld.Slot.Info(), argv...) == nil {
			f.Corrected, f.Problem = true, "makedumpfile cannot count the pages of a kernel that was built for 52-bit addresses"
		}
		return f
	}
	f.Verdict, f.Bytes = state.Understood, table.DumpSize(level)
	if kinds := table.Missing(); kinds != "" && level > 1 {
		f.Note = "makedumpfile finds no pages " + kinds + " in this kernel and saves them, too: update makedumpfile for smaller dumps"
	}
	return f
}

// countPages asks for the kinds of pages and compares them with /proc/meminfo.
func (ld *Loader) countPages(limit time.Duration, argv []string) (memusage.Table, error) {
	out, err := ld.askMakedumpfile(limit, argv)
	if err != nil {
		return memusage.Table{}, err
	}
	table, err := memusage.Parse(out)
	if err != nil {
		return memusage.Table{}, err
	}
	meminfo, _ := os.ReadFile(filepath.Join(ld.Root, "proc/meminfo"))
	return table, table.Check(string(meminfo))
}

// CanForecast reports whether the running kernel can be asked: that of another
// machine does not run here.
func (ld *Loader) CanForecast() bool { return ld.MemUsage != nil || ld.Root == "/" }

// Try returns the forecast by a makedumpfile with those bytes and keeps its verdict for
// later boots. If there is no verdict now, for example because makedumpfile was too
// slow, an earlier one counts. The other arguments are those of ForecastWith.
func (ld *Loader) Try(program []byte, limit time.Duration, level int, argv ...string) *state.Forecast {
	f := ld.ForecastWith(limit, level, argv...)
	try, err := ld.Store.NewTry(program, level)
	if err != nil {
		return f // nothing can be kept for a kernel without a name
	}
	if f.Verdict == state.Untried {
		if old := ld.Store.Tried(try); old != nil {
			return old
		}
		return f
	}
	f.Time = time.Now().UTC().Round(time.Second)
	if err := ld.Store.SaveTried(try, f); err != nil {
		ld.Out.Warn(fmt.Sprintf("the next boot will try makedumpfile again: %v", err))
	}
	return f
}

// tried returns the earlier result for the image that is being loaded. An image that
// is not the one of b may have another makedumpfile.
func (ld *Loader) tried(b *builder.Build, im *ImageFile) *state.Forecast {
	if !ld.CanForecast() {
		return nil
	}
	untried := &state.Forecast{Release: ld.Store.Running(), Problem: "makedumpfile was not tried on this kernel"}
	if !ld.packs(b, im.Fingerprint) {
		untried.Problem = "the makedumpfile of this image was not tried on this kernel"
		return untried
	}
	try, err := ld.Store.NewTry(ld.program(b), b.DumpLevel)
	if err != nil {
		return untried
	}
	if f := ld.Store.Tried(try); f != nil {
		return f
	}
	return untried
}

// packs reports whether the image with that fingerprint has the makedumpfile of b.
func (ld *Loader) packs(b *builder.Build, fingerprint string) bool {
	if b.Initramfs != "" {
		return true // that of the system runs
	}
	own, err := b.Fingerprint()
	return err == nil && own == fingerprint
}

// program returns the bytes of the makedumpfile of b, nil if they cannot be read.
func (ld *Loader) program(b *builder.Build) []byte {
	data, err := state.ReadFile(filepath.Join(ld.Root, b.Makedumpfile), MaxProgram)
	if err != nil {
		return nil
	}
	return data
}

// MaxProgram bounds the file of a makedumpfile, in bytes.
const MaxProgram = 64 << 20

// learn tries makedumpfile after a load. If the capture kernel should know the result,
// the loaded set is loaded once more.
func (ld *Loader) learn(b *builder.Build) error {
	f := ld.Try(ld.program(b), TryLimit, b.DumpLevel, b.Makedumpfile)
	ld.reportVerdict(f)
	return ld.tell(f)
}

// reportVerdict warns of a makedumpfile that does not understand the running kernel,
// and reports one that was not tried.
func (ld *Loader) reportVerdict(f *state.Forecast) {
	switch f.Verdict {
	case state.Misread:
		ld.Out.Warn(f.Problem + ": dumps are larger than necessary: update makedumpfile")
	case state.Untried:
		ld.Out.Say("unknown whether makedumpfile understands kernel %s: %s", f.Release, f.Problem)
	}
}

// tell makes f the forecast of the loaded set. The set is loaded again if the capture
// kernel would decide otherwise.
func (ld *Loader) tell(f *state.Forecast) error {
	rec := ld.Store.Loaded()
	if rec == nil {
		return nil
	}
	now := *rec
	if now.SetForecast(f); now.Cmdline == rec.Cmdline {
		ld.remember(&now)
		return nil
	}
	s, kernel, image, err := ld.Store.Fallback()
	// The last load that a sysctl allows is for the next change of the configuration.
	left := ld.Slot.LoadLimit()
	if err != nil || !s.Is(rec) || left >= 0 && left <= 1 || f.CoveredBy(rec.Forecast) {
		now.Words, now.Cmdline = rec.Words, rec.Cmdline
		ld.remember(&now)
		return nil
	}
	s.SetForecast(f)
	s.Fallback = rec.Fallback
	if err := ld.putSet(s, kernel, image); err != nil {
		return err
	}
	if err := ld.Store.SaveFallback(s, kernel, image); err != nil {
		ld.Out.Warn(fmt.Sprintf("loaded, but not saved as the fallback set: %v", err))
	}
	return nil
}

// Learn tries makedumpfile on the running kernel, with time for the largest machines,
// and makes the result known to the loaded set. Nobody waits for it: it takes the lock
// only for the load.
func (ld *Loader) Learn() error {
	rec := ld.Store.Loaded()
	loaded, err := ld.Slot.Loaded()
	if err != nil {
		return err
	}
	if !loaded || rec == nil {
		ld.Out.Say("nothing to do: kdumpctl has loaded no capture kernel")
		return nil
	}
	conf, err := config.Load(ld.Root)
	if err != nil {
		return err
	}
	b, err := builder.New(ld.BuildOptions(conf)) // load has printed the warnings
	if err != nil {
		return err
	}
	if rec.LogOnly || b.Plan.LogOnly {
		ld.Out.Say("nothing to do: " + builder.LogOnly)
		return nil
	}
	if !ld.packs(b, rec.Fingerprint) {
		ld.Out.Say("nothing to do: the loaded image is not the configured one")
		return nil
	}
	f := ld.Try(ld.program(b), tryLimitUnit, b.DumpLevel, b.Makedumpfile)
	unlock, err := ld.Store.Lock("reload", ld.Sleep)
	if err != nil {
		return err
	}
	defer unlock()
	if now := ld.Store.Loaded(); now == nil || now.ImageID != rec.ImageID || now.KernelID != rec.KernelID {
		ld.Out.Say("nothing to do: another set was loaded meanwhile")
		return nil
	}
	ld.reportVerdict(f)
	if f.Verdict == state.Understood {
		ld.Out.Say("makedumpfile understands kernel %s: a dump takes up to %s", f.Release, cli.Size(f.Bytes))
	}
	if err := ld.tell(f); err != nil {
		return ld.afterFailure(err)
	}
	return nil
}

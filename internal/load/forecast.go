package load

import (
	"os"
	"path/filepath"

	"ukdump/internal/builder"
	"ukdump/internal/makedumpfile/memusage"
	"ukdump/internal/state"
)

// forecast asks the makedumpfile that goes into the image of b about the running
// kernel. It also shows whether that program understands this kernel: it warns
// about kernels that it works with, and is silent about some that it does not.
func (ld *Loader) forecast(b *builder.Build) *state.Forecast {
	if !ld.CanForecast() {
		return nil
	}
	return ld.ForecastWith(b.DumpLevel, b.Makedumpfile)
}

// askMakedumpfile returns the output of makedumpfile --mem-usage for the running
// kernel.
func (ld *Loader) askMakedumpfile(argv []string) ([]byte, error) {
	if ld.MemUsage != nil {
		return ld.MemUsage(argv[len(argv)-1])
	}
	return memusage.Run(argv...)
}

// ForecastWith is the forecast for dumps at that level by a makedumpfile. The words of
// argv are the program, or its dynamic linker with options and, last, the program.
func (ld *Loader) ForecastWith(level int, argv ...string) *state.Forecast {
	f := &state.Forecast{Release: ld.Store.Running()}
	if ld.Slot.Lockdown() == "confidentiality" {
		f.Problem = "the kernel is locked down and hides its memory (lockdown=confidentiality)"
		return f
	}
	table, err := ld.countPages(argv)
	if err != nil {
		f.Problem = err.Error()
		return f
	}
	f.Bytes = table.DumpSize(level)
	if kinds := table.Missing(); kinds != "" && level > 1 {
		f.Note = "makedumpfile finds no pages " + kinds + " in this kernel and saves them, too: update it for smaller dumps"
	}
	return f
}

// countPages asks for the kinds of pages and compares them with /proc/meminfo.
func (ld *Loader) countPages(argv []string) (memusage.Table, error) {
	out, err := ld.askMakedumpfile(argv)
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

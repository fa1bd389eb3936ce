package capture

import (
	"os"

	"ukdump/internal/vmcore"
)

// makeInfo is makedumpfile.InfoArgs on arm64 and nil elsewhere, so that the linker leaves
// it out.
var makeInfo func(in vmcore.Info, path string) ([]string, error)

// infoFile is a corrected VMCOREINFO.
var infoFile = "/run/ukdump/vmcoreinfo"

// infoArgs returns the arguments with which makedumpfile reads this memory.
func (w *worker) infoArgs() []string {
	if makeInfo == nil {
		return nil
	}
	f, err := os.Open(vmcorePath)
	if err != nil {
		return nil // the collector says why
	}
	defer f.Close()
	core, err := vmcore.Open(f)
	if err != nil {
		return nil
	}
	args, err := makeInfo(core.Info, infoFile)
	if err != nil {
		w.warn("write VMCOREINFO for makedumpfile: %v", err)
	}
	return args
}

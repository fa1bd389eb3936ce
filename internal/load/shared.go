package load

import (
	"path/filepath"

	"ukdump/internal/crashdir"
	"ukdump/internal/plan"
)

// noteShared says who else may write to the directories of dumps.
func (ld *Loader) noteShared(p *plan.Plan) {
	for _, t := range p.Targets {
		if t.Kind != plan.Directory && t.Kind != plan.Mounted {
			continue
		}
		s, err := crashdir.SharedWith(filepath.Join(ld.Root, t.Dir))
		switch text := s.Describe(t.Dir); {
		case err != nil:
			ld.Out.Warn("who may write to " + t.Dir + " is not known: " + err.Error())
		case s.Replace:
			ld.Out.Warn(text)
		case text != "":
			ld.Out.Say("%s", text)
		}
	}
}

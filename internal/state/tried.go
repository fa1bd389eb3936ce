package state

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// Limits of the list of results: entries and bytes.
const (
	maxTried     = 64
	maxTriedFile = 1 << 20
)

const triedFile = "makedumpfile.json"

// Try names one run of makedumpfile --mem-usage by its inputs. The result holds at
// every boot of the same kernel with the same program.
type Try struct {
	Kernel       string `json:"kernel_sha256"`       // ID of the release and the banner
	Makedumpfile string `json:"makedumpfile_sha256"` // ID of the program's file
	Level        int    `json:"dump_level"`          // the size depends on it
}

type tried struct {
	Try
	Forecast
}

type triedList struct {
	Version int     `json:"version"`
	List    []tried `json:"tried"` // oldest first
}

// NewTry returns the name of a run of the program with those bytes on the running
// kernel. The banner of proc_version(5) tells apart two builds of one release. The
// error says that it cannot be read.
func (st Store) NewTry(program []byte, level int) (Try, error) {
	banner, err := os.ReadFile(filepath.Join(st.Root, "proc/version"))
	if err != nil {
		return Try{}, err
	}
	if len(banner) == 0 || st.Running() == "" || len(program) == 0 {
		return Try{}, errors.New("the running kernel does not name itself")
	}
	return Try{ID([]byte(st.Running() + "\n" + string(banner))), ID(program), level}, nil
}

// Tried returns the last result of a run, nil if there is none. With another dump
// level it has no size.
func (st Store) Tried(t Try) *Forecast {
	list, _ := st.readTried()
	for _, e := range slices.Backward(list.List) {
		if e.Kernel != t.Kernel || e.Makedumpfile != t.Makedumpfile || e.Release != st.Running() {
			continue
		}
		f := e.Forecast
		if e.Level != t.Level {
			f.Bytes, f.Note = 0, ""
		}
		return &f
	}
	return nil
}

// SaveTried keeps a result for later boots. One without a verdict replaces none.
func (st Store) SaveTried(t Try, f *Forecast) error {
	if f == nil || f.Verdict == Untried {
		return nil
	}
	list, _ := st.readTried() // whatever cannot be read is replaced
	list.List = slices.DeleteFunc(list.List, func(e tried) bool { return e.Kernel == t.Kernel && e.Makedumpfile == t.Makedumpfile })
	list.List = append(list.List, tried{t, *f})
	list.List = list.List[max(0, len(list.List)-maxTried):]
	return writeJSON(st.file(triedFile), list)
}

func (st Store) readTried() (triedList, error) {
	list := triedList{}
	path := st.file(triedFile)
	err := readJSON(path, maxTriedFile, &list)
	if err == nil {
		err = checkVersion(path, list.Version)
	}
	if err != nil {
		return triedList{Version: 1}, err
	}
	return list, nil
}

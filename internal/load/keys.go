package load

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ukdump/internal/advice"
	"ukdump/internal/cryptkeys"
	"ukdump/internal/dm"
	"ukdump/internal/host"
	"ukdump/internal/plan"
	"ukdump/internal/state"
)

// keysOf returns the keys that the layers of a target need.
func keysOf(t *plan.Target) []cryptkeys.Key {
	var keys []cryptkeys.Key
	for _, l := range t.Layers {
		if l.Crypt != nil {
			keys = append(keys, cryptkeys.Key{Volume: l.Name, UUID: l.UUID, Description: l.Crypt.KeyDescription, Bytes: l.Crypt.KeyBytes})
		}
	}
	return keys
}

// addKeys appends those of more that are not in keys.
func addKeys(keys, more []cryptkeys.Key) []cryptkeys.Key {
	for _, k := range more {
		known := false
		for _, have := range keys {
			known = known || have.Description == k.Description
		}
		if !known {
			keys = append(keys, k)
		}
	}
	return keys
}

func descriptions(keys []cryptkeys.Key) (list []string) {
	for _, k := range keys {
		list = append(list, k.Description)
	}
	return list
}

// chooseKeys returns the volume keys that a capture kernel with the plan p is to
// get. A target whose key cannot be had costs a warning if there is another one or
// a directory for evidence, and else it is the error. pstore alone is not enough:
// it is little, may be lost, and nobody who asked for a dump means that.
func (ld *Loader) chooseKeys(p *plan.Plan) ([]cryptkeys.Key, error) {
	places := slices.Concat(p.Targets, p.Evidence)
	var all, usable []cryptkeys.Key
	for i := range places {
		all = addKeys(all, keysOf(&places[i]))
	}
	taken := ld.takenKeys()
	if ld.Keys.Check(all, taken) == nil {
		return all, nil
	}
	errs := make([]error, len(places))
	targets := 0
	for i := range places {
		keys := keysOf(&places[i])
		if errs[i] = ld.Keys.Check(keys, nil); errs[i] != nil {
			continue
		}
		usable = addKeys(usable, keys)
		if i < len(p.Targets) {
			targets++
		}
	}
	// The kernel takes over its own copy as it is or not at all.
	if kept := len(reachable(p, taken).Targets); kept > targets {
		usable, targets = taken, kept
		for i := range places {
			if !opens(&places[i], taken) && errs[i] == nil {
				errs[i] = errors.New("only the volume keys of the loaded capture kernel are available")
			} else if opens(&places[i], taken) {
				errs[i] = nil
			}
		}
	}
	var failed []error
	for i, err := range errs {
		if err != nil {
			failed = append(failed, fmt.Errorf("%s cannot be opened after a crash: %w", places[i].Dir, err))
		}
	}
	if len(failed) == 0 { // one has come meanwhile
		return usable, nil
	}
	first := failed[0]
	if len(failed) == len(places) {
		return nil, first
	}
	for _, err := range failed[1:] {
		ld.warnOnce(err.Error())
	}
	lines := []string{first.Error()}
	if a := advice.For(first); a != "" {
		lines = append(lines, a)
	}
	ld.warnOnce(lines...)
	if targets == 0 && len(p.Targets) > 0 {
		ld.warnOnce("no target is left for a dump: only log and report are saved, as EVIDENCE says")
	}
	return usable, nil
}

// warnOnce warns unless this run has warned of it before, as for the fallback set.
func (ld *Loader) warnOnce(lines ...string) {
	if !slices.Contains(ld.warned, lines[0]) {
		ld.warned = append(ld.warned, lines[0])
		ld.Out.Warn(lines...)
	}
}

// opens reports whether a place can be opened with keys.
func opens(t *plan.Target, keys []cryptkeys.Key) bool {
	have := descriptions(keys)
	return !slices.ContainsFunc(keysOf(t), func(k cryptkeys.Key) bool { return !slices.Contains(have, k.Description) })
}

// reachable returns p without the places that cannot be opened with keys.
func reachable(p *plan.Plan, keys []cryptkeys.Key) *plan.Plan {
	closed := func(t plan.Target) bool { return !opens(&t, keys) }
	r := *p
	r.Targets = slices.DeleteFunc(slices.Clone(p.Targets), closed)
	r.Evidence = slices.DeleteFunc(slices.Clone(p.Evidence), closed)
	return &r
}

// takenKeys returns the keys of the loaded set.
func (ld *Loader) takenKeys() []cryptkeys.Key {
	loaded, err := ld.Slot.Loaded()
	l := ld.Store.Loaded()
	if err != nil || !loaded || l == nil {
		return nil
	}
	return l.Keys
}

// CheckKeys returns why a target cannot be opened after a crash: because
// the loaded set l has not got its key, or if l is nil, because the next load
// will not get it.
func (ld *Loader) CheckKeys(t *plan.Target, l *state.LoadRecord) error {
	lacking := keysOf(t)
	if l != nil {
		lacking = slices.DeleteFunc(lacking, func(k cryptkeys.Key) bool {
			return slices.ContainsFunc(l.Keys, func(have cryptkeys.Key) bool { return have.Description == k.Description })
		})
	}
	err := ld.Keys.Check(lacking, nil)
	if err == nil && l != nil && len(lacking) > 0 {
		err = NeedsReload("the loaded capture kernel lacks the volume key of %s", lacking[0].Volume)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be opened after a crash: %w", t.Dir, err)
	}
	return nil
}

// KeyInTable returns the key of a LUKS volume in use if its table shows it: that
// of LUKS1, and of LUKS2 opened with --disable-keyring.
func KeyInTable(root string) func(k cryptkeys.Key) []byte {
	return func(k cryptkeys.Key) []byte {
		name := host.CryptName(root, k.UUID)
		if root != "/" || name == "" {
			return nil
		}
		control, err := dm.Open()
		if err != nil {
			return nil
		}
		defer control.Close()
		table, err := control.Table(name)
		if err != nil || len(table) != 1 {
			return nil
		}
		return tableKey(table[0], k.Bytes)
	}
}

// tableKey returns the key of that many bytes in a line of a table, nil if there
// is none.
func tableKey(t dm.Target, size int) []byte {
	words := strings.Fields(t.Params)
	if t.Type != "crypt" || len(words) < 2 || strings.HasPrefix(words[1], ":") {
		return nil
	}
	key, err := hex.DecodeString(words[1])
	if err != nil || len(key) != size {
		return nil
	}
	return key
}

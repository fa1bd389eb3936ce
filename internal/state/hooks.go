package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Hook is an announced crash for which the program of HOOK was not run yet.
type Hook struct {
	Version   int               `json:"version"`
	Message   string            `json:"message"`
	MessageID string            `json:"message_id"`
	Fields    map[string]string `json:"fields,omitempty"`    // of the journal entry
	Directory string            `json:"directory,omitempty"` // of the dump, "" if there is none
}

const (
	hooksDir = "hooks"
	// maxHooks bounds the waiting ones: a machine that crashes in a loop never runs them.
	maxHooks    = 100
	maxHookFile = 1 << 20
)

// QueueHook keeps a crash until its hook was run.
func (st Store) QueueHook(h *Hook) error {
	waiting, err := st.Hooks()
	if err != nil {
		return err
	}
	if len(waiting) >= maxHooks {
		return fmt.Errorf("%d hooks wait already", len(waiting))
	}
	h.Version = 1
	name := fmt.Sprintf("%020d.json", time.Now().UnixNano())
	return writeJSON(filepath.Join(st.file(hooksDir), name), h)
}

// Hooks returns the names of the waiting ones, oldest first.
func (st Store) Hooks() (names []string, err error) {
	entries, err := os.ReadDir(st.file(hooksDir))
	if os.IsNotExist(err) {
		return nil, nil
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Hook reads a waiting one.
func (st Store) Hook(name string) (*Hook, error) {
	h := new(Hook)
	path := filepath.Join(st.file(hooksDir), name)
	err := readJSON(path, maxHookFile, h)
	if err == nil {
		err = checkVersion(path, h.Version)
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// RemoveHook forgets one.
func (st Store) RemoveHook(name string) error {
	return os.Remove(filepath.Join(st.file(hooksDir), name))
}

// LockHooks keeps others from running hooks at the same time. It does not wait.
func (st Store) LockHooks() (unlock func(), err error) {
	return st.tryLock("hooks.lock", "another kdumpctl announce --hooks is running")
}

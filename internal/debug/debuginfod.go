package debug

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Debuginfod asks the servers that are configured, with debuginfod-find(1).
type Debuginfod struct {
	Root    string        // of the machine; "/" but for tests
	Program string        // debuginfod-find
	Limit   time.Duration // for the download
	// Progress shows the program's own progress on standard error.
	Progress bool
}

// URLs returns the servers: DEBUGINFOD_URLS of the environment, else those of
// /etc/debuginfod/*.urls, which the login shell of a user has read and sudo has dropped.
func (d *Debuginfod) URLs() string {
	if urls, ok := os.LookupEnv("DEBUGINFOD_URLS"); ok {
		return strings.TrimSpace(urls)
	}
	files, _ := filepath.Glob(filepath.Join(d.Root, "etc/debuginfod/*.urls"))
	var urls []string
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		urls = append(urls, strings.Fields(string(b))...)
	}
	return strings.Join(urls, " ")
}

// Find downloads the debug information of a build ID to the cache of debuginfod-find, and
// returns its path.
func (d *Debuginfod) Find(id string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.Program, "debuginfo", id)
	cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS="+d.URLs())
	cmd.WaitDelay = time.Second
	var errs strings.Builder
	if d.Progress {
		cmd.Env = append(cmd.Env, "DEBUGINFOD_PROGRESS=1")
		cmd.Stderr = os.Stderr
	} else {
		cmd.Stderr = &limited{&errs}
	}
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("debuginfod: no answer within %d minutes", int(d.Limit.Minutes()))
	case err != nil && errs.Len() > 0:
		return "", fmt.Errorf("debuginfod: %s", strings.TrimSpace(errs.String()))
	case err != nil:
		return "", errors.New("debuginfod: no server has the debug information")
	}
	path := strings.TrimSpace(string(out))
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("debuginfod: not a path: %q", path)
	}
	return path, nil
}

// limited keeps the beginning of the messages of a program.
type limited struct{ b *strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	const most = 1 << 10
	l.b.Write(p[:min(len(p), most-min(most, l.b.Len()))])
	return len(p), nil
}

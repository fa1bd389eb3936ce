package ctl

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each shell is run with the script that kdumpctl prints for it. The last word of the
// line is completed.
func TestShellCompletion(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "kdumpctl")
	if out, err := exec.Command("go", "build", "-o", program, "ukdump/cmd/kdumpctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"2026-11-22T01-00-00Z", "2026-11-23T01-00-00Z"} {
		if err := os.MkdirAll(filepath.Join(dir, "crash", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	crash := filepath.Join(dir, "crash")
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"kdumpctl sta", []string{"status"}},
		{"kdumpctl announce --w", []string{"--watch"}},
		{"kdumpctl completion f", []string{"fish"}},
		{"kdumpctl help colle", []string{"collect"}},
		{"kdumpctl info --dir " + crash + " 2026-11-23", []string{"2026-11-23T01-00-00Z"}},
		{"kdumpctl debug --dir " + crash + " 2026-11-23", []string{"2026-11-23T01-00-00Z"}},
		{"kdumpctl rm --dir " + crash + " 2026-11-22T01-00-00Z 2026", []string{"2026-11-23T01-00-00Z"}},
	} {
		for shell, complete := range map[string]func(t *testing.T, script, line string) string{"bash": inBash, "zsh": inZsh, "fish": inFish} {
			t.Run(shell+" "+tt.line, func(t *testing.T) {
				if _, err := exec.LookPath(shell); err != nil {
					if os.Getenv("CI") != "" {
						t.Fatal(err)
					}
					t.Skipf("%s is not installed", shell)
				}
				t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
				script := filepath.Join(dir, "_kdumpctl")
				text, err := exec.Command(program, "completion", shell).Output()
				if err == nil {
					err = os.WriteFile(script, text, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Fields(complete(t, script, tt.line)); !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &errs)
	}
	return string(out)
}

func inBash(t *testing.T, script, line string) string {
	if _, err := os.Stat("/usr/share/bash-completion/bash_completion"); err != nil && os.Getenv("CI") == "" {
		t.Skip("bash-completion is not installed")
	}
	return output(t, exec.Command("bash", "-c", `
		source /usr/share/bash-completion/bash_completion
		source "$1"
		COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9
		read -ra COMP_WORDS <<<"$2"
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		__start_kdumpctl
		printf '%s\n' "${COMPREPLY[@]}"`, "bash", script, line))
}

func inFish(t *testing.T, script, line string) string {
	out := output(t, exec.Command("fish", "--no-config", "-c", `source $argv[1]; complete --do-complete $argv[2]`, script, line))
	var words []string
	for l := range strings.Lines(out) {
		word, _, _ := strings.Cut(strings.TrimSpace(l), "\t") // a description
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// inZsh types the line and a tab into an interactive zsh, and returns the last word of
// the line that comes of it.
func inZsh(t *testing.T, script, line string) string {
	out := output(t, exec.Command("zsh", "-f", "-c", `
		zmodload zsh/zpty
		zpty shell zsh -f -i
		zpty -w shell "PS1= fpath=(${1:h} \$fpath); autoload -U compinit; compinit -u -d ${1:h}/zcompdump; stty -echo; report() { print -r -- DONE \$BUFFER; BUFFER= }; zle -N report; bindkey '^X' report; print READY"
		zpty -r shell seen '*READY*READY*'
		zpty -w -n shell "$2"$'\t\x18'
		zpty -r -m shell seen '*DONE *'$'\n'
		zpty -d shell
		print -r -- "$seen"`, "zsh", script, line))
	_, after, _ := strings.Cut(out, "DONE ")
	after, _, _ = strings.Cut(after, "\r")
	words := strings.Fields(after)
	if len(words) == 0 {
		t.Fatalf("zsh printed %q", out)
	}
	return words[len(words)-1]
}

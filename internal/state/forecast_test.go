package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestForecastWords(t *testing.T) {
	for _, tt := range []struct {
		f    *Forecast
		want string
	}{
		{nil, "a b"},
		{&Forecast{Release: "6.1", Problem: "x"}, "a b"},
		{&Forecast{Verdict: Understood, Bytes: 1}, "a b"},
		{&Forecast{Release: "6.1", Bytes: 1}, "a b"},
		{&Forecast{Release: "6.1 init=/bin/sh", Verdict: Understood, Bytes: 1}, "a b"},
		{&Forecast{Release: "6.1", Verdict: Understood}, "ukdump.known=6.1 a b"},
		{&Forecast{Release: "6.1", Verdict: Misread, Problem: "x"}, "ukdump.misread=6.1 a b"},
		{&Forecast{Release: "6.1.0-50-amd64", Verdict: Understood, Bytes: 123456789012}, "ukdump.expect=137438953472 ukdump.known=6.1.0-50-amd64 a b"},
	} {
		l := &LoadRecord{Cmdline: "a b"}
		for range 2 { // the second time it replaces the words
			l.SetForecast(tt.f)
			if l.Cmdline != tt.want || l.WithWords("a b") != tt.want {
				t.Errorf("%+v: got %q and %q, want %q", tt.f, l.Cmdline, l.WithWords("a b"), tt.want)
			}
		}
		l.SetForecast(&Forecast{Release: "7", Verdict: Understood})
		if l.Cmdline != "ukdump.known=7 a b" {
			t.Errorf("%+v replaced: got %q", tt.f, l.Cmdline)
		}
	}
}

// The list is bounded, and a run without a verdict replaces none.
func TestTried(t *testing.T) {
	st := Store{Root: t.TempDir()}
	for name, content := range map[string]string{"proc/version": "Linux version 6.1\n", "proc/sys/kernel/osrelease": "6.1\n"} {
		file := st.Root + "/" + name
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 2 * maxTried {
		try, err := st.NewTry(fmt.Append(nil, n), 31)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []Verdict{Understood, Untried, Misread, Untried} {
			if err := st.SaveTried(try, &Forecast{Release: "6.1", Verdict: v, Bytes: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if f := st.Tried(try); f == nil || f.Verdict != Misread || f.Bytes != 1 {
			t.Fatalf("%d: %+v", n, f)
		}
		try.Level = 1
		if f := st.Tried(try); f == nil || f.Bytes != 0 {
			t.Errorf("another level: %+v", f)
		}
	}
	if list, err := st.readTried(); err != nil || len(list.List) != maxTried {
		t.Errorf("%d entries, %v", len(list.List), err)
	}
	if _, err := st.NewTry(nil, 31); err == nil {
		t.Error("a program without bytes has a name")
	}
}

package main

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "draw docs/capture.svg again, from testdata/capture.cast")

// TestDrawing draws the picture in the README from the recording of a real
// crash; "make capture" records another one.
func TestDrawing(t *testing.T) {
	const picture = "../../docs/capture.svg"
	file, err := os.ReadFile("testdata/capture.cast")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCast(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.bytes(), file) {
		t.Error("a recording that was read is written differently")
	}
	got, err := drawing(c)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(picture, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not of this recording: run go test ./test/demo -update", picture)
	}
	if len(got) > 60_000 {
		t.Errorf("%s has %d bytes", picture, len(got))
	}
}

func TestParseCast(t *testing.T) {
	for _, file := range []string{"", "{}", "{\"version\": 1}\n", "{\"version\": 2}\n[1", "{\"version\": 2}\n[\"o\", 1]"} {
		if _, err := parseCast([]byte(file)); err == nil {
			t.Errorf("%q is taken for a recording", file)
		}
	}
	nothing := &cast{events: []event{{marker: true, text: phases["crash"]}, {text: "  | noise"}}}
	if _, err := drawing(new(cast)); err == nil {
		t.Error("a picture of nothing")
	}
	if _, err := drawing(nothing); err == nil {
		t.Error("a picture of noise")
	}
}

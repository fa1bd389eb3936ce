package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// cast is a recording of a terminal, in the format of asciinema(1): asciicast,
// version 2. Every event of output is one line; every phase begins with a
// marker.
type cast struct {
	start  time.Time
	events []event
}

// event is one line or one marker.
type event struct {
	seconds float64 // since the start of the recording
	marker  bool
	text    string
}

// castWidth and castHeight are the size of a terminal that shows the recording
// without folding lines.
const castWidth, castHeight = 130, 40

func (c *cast) add(marker bool, text string) {
	if c.start.IsZero() {
		c.start = time.Now()
	}
	c.events = append(c.events, event{time.Since(c.start).Seconds(), marker, text})
}

// bytes returns the file.
func (c *cast) bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\": 2, \"width\": %d, \"height\": %d}\n", castWidth, castHeight)
	for _, e := range c.events {
		code, text := "o", e.text+"\r\n"
		if e.marker {
			code, text = "m", e.text
		}
		// Fields of an array: json.Marshal cannot fail on them.
		line, _ := json.Marshal([]any{math.Round(e.seconds*1000) / 1000, code, text})
		b.Write(append(line, '\n'))
	}
	return b.Bytes()
}

// keep writes the recording and its picture, each unless its name is empty.
func (c *cast) keep(record, picture string) error {
	if record != "" {
		if err := os.WriteFile(record, c.bytes(), 0o644); err != nil {
			return err
		}
	}
	if picture == "" {
		return nil
	}
	kept, err := parseCast(c.bytes()) // with its rounded times
	if err != nil {
		return err
	}
	svg, err := drawing(kept)
	if err != nil {
		return err
	}
	return os.WriteFile(picture, svg, 0o644)
}

// parseCast reads what bytes has written.
func parseCast(file []byte) (*cast, error) {
	s := bufio.NewScanner(bytes.NewReader(file))
	var header struct {
		Version int `json:"version"`
	}
	if !s.Scan() {
		return nil, errors.New("no header")
	}
	if err := json.Unmarshal(s.Bytes(), &header); err != nil || header.Version != 2 {
		return nil, fmt.Errorf("header %q: not an asciicast of version 2", s.Text())
	}
	c := new(cast)
	for s.Scan() {
		var e event
		var code string
		if err := json.Unmarshal(s.Bytes(), &[]any{&e.seconds, &code, &e.text}); err != nil {
			return nil, fmt.Errorf("event %q: %w", s.Text(), err)
		}
		e.marker = code == "m"
		e.text = strings.TrimSuffix(e.text, "\r\n")
		c.events = append(c.events, e)
	}
	return c, s.Err()
}

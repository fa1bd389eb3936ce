package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// row is a line of the picture.
type row struct {
	class string  // its colour, see style; empty for the usual one
	text  string  // without the kernel's time stamp
	at    float64 // seconds from the start of the picture
	since float64 // seconds since the crash; NaN before it and after the reset
}

// Measures of the picture, in pixels. advance is the width of a character in
// the usual fonts of fixed width.
const (
	columns    = 110
	gutter     = 9 // columns for the seconds
	fontSize   = 13
	advance    = 7.83
	lineHeight = 18
	margin     = 16
	idle       = 1.5 // seconds: outside the crash no pause is longer
)

// The picture is dark on every page. Where nothing moves, as with rsvg-convert
// or for people who ask for less motion, it shows the end.
const style = `rect{fill:#161b22;stroke:#30363d}
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#c9d1d9;white-space:pre}
.time,.cut{fill:#8b949e}.command{fill:#fff;font-weight:bold}.panic{fill:#ff7b72}.capture{fill:#7ee787}
@media (prefers-reduced-motion:no-preference){g{animation:show 1ms both}}
@keyframes show{from{opacity:0}}`

// drawing returns the capture of a recording as an animated picture (SVG): the
// setup, the crash with the seconds since then, and the result. The same
// recording gives the same bytes.
func drawing(c *cast) ([]byte, error) {
	rows := rowsOf(c)
	if len(rows) < 2 {
		return nil, errors.New("the recording shows no capture")
	}
	width := int(math.Ceil((columns+gutter)*advance)) + 2*margin
	height := len(rows)*lineHeight + 2*margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%d" role="img">
<title>A Linux machine crashes and ukdump captures the crash</title>
<style>%s</style>
<rect x=".5" y=".5" width="%d" height="%d" rx="8"/>
`, width, height, style, width-1, height-1)
	for i, r := range rows {
		y := margin + i*lineHeight + fontSize
		fmt.Fprintf(&b, `<g style="animation-delay:%.2fs">`, r.at)
		if !math.IsNaN(r.since) {
			fmt.Fprintf(&b, `<text class="time" x="%d" y="%d" xml:space="preserve">%5.1f s</text>`, margin, y, r.since)
		}
		class := ""
		if r.class != "" {
			class = fmt.Sprintf(` class="%s"`, r.class)
		}
		fmt.Fprintf(&b, `<text%s x="%.1f" y="%d" xml:space="preserve">`, class, margin+gutter*advance, y)
		xml.EscapeText(&b, []byte(clip(r.text)))
		b.WriteString("</text></g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

// clip shortens a line to the width of the picture.
func clip(line string) string {
	if r := []rune(line); len(r) > columns {
		return string(r[:columns-1]) + "…"
	}
	return line
}

// stamp is the time that a kernel prints before each message.
var stamp = regexp.MustCompile(`^\[ *\d+\.\d+\] `)

// rowsOf selects the lines of the picture and says when each appears.
func rowsOf(c *cast) []row {
	var rows []row
	var phase, command string
	var clock, last float64 // of the picture and of the recording
	crash := math.NaN()
	for _, e := range c.events {
		if e.marker {
			phase, command = e.text, ""
			continue
		}
		line, ok := strings.CutPrefix(e.text, "  | ")
		if !ok {
			continue // the title of a phase
		}
		line = stamp.ReplaceAllString(line, "")
		since := math.NaN()
		if phase == phases["crash"] {
			if strings.HasPrefix(line, trigger) {
				crash = e.seconds
			}
			since = e.seconds - crash
		}
		if strings.HasPrefix(line, "# ") {
			command = line
		}
		r := row{class: classOf(line), text: line, since: since}
		if !shown(phase, command, line) {
			if phase != phases["crash"] || len(rows) == 0 || rows[len(rows)-1].class == "cut" {
				continue
			}
			r = row{class: "cut", text: "⋮", since: math.NaN()}
		}
		pause := e.seconds - last
		if math.IsNaN(since) {
			pause = min(pause, idle)
		}
		if len(rows) == 0 {
			pause = 0
		}
		clock += pause
		last, r.at = e.seconds, clock
		rows = append(rows, r)
	}
	return rows
}

// trigger begins the kernel's line about the crash.
const trigger = "sysrq: Trigger"

// shown says whether the picture has a line. The trace of the crashed kernel and
// the messages of the capture kernel's start are long and left out.
func shown(phase, command, line string) bool {
	switch phase {
	case phases["setup"]:
		return strings.HasPrefix(line, "# ") && line != "# kdumpctl setup" || command == "# kdumpctl setup --apply" && strings.HasPrefix(line, "The next boot has ")
	case phases["list"]:
		return command == "# kdumpctl" || command == "# kdumpctl list"
	case phases["crash"]:
		return line != "# kdumpctl status" && slices.ContainsFunc([]string{"# ", trigger, "Kernel panic", "kdumpinit: ", "reboot: "},
			func(prefix string) bool { return strings.HasPrefix(line, prefix) })
	}
	return false
}

func classOf(line string) string {
	switch {
	case strings.HasPrefix(line, "# "):
		return "command"
	case strings.HasPrefix(line, trigger), strings.HasPrefix(line, "Kernel panic"):
		return "panic"
	case strings.HasPrefix(line, "kdumpinit: "):
		return "capture"
	}
	return ""
}

package bootloader

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// edit returns the file with e in the values of the given assignments; all other bytes
// stay. An assignment that ukdump has added goes when it is empty.
func (f *shellFile) edit(e Edit, indexes ...int) ([]byte, error) {
	if err := e.plain(); err != nil {
		return nil, err
	}
	var list []splice
	for _, i := range indexes {
		a := &f.vars[i]
		words := e.splices(a.text())
		if len(words) > 0 && len(e.Words) == 0 && strings.TrimSpace(e.Apply(a.text())) == "" {
			if own, ok := f.added(a); ok {
				list = append(list, splice{span: own})
				continue
			}
		}
		for _, w := range words {
			list = append(list, f.encode(a, w)...)
		}
	}
	slices.SortStableFunc(list, func(x, y splice) int { return x.start - y.start })
	data := splices(f.data, list)
	// Read it again: what the shell gets must be what was meant.
	again, err := parseShell(f.name, data)
	if err != nil {
		return nil, fmt.Errorf("edit %s: %w", f.name, err)
	}
	for _, i := range indexes {
		a := &f.vars[i]
		if len(again.vars) == len(f.vars) && again.vars[i].text() != e.Apply(a.text()) {
			return nil, f.refuse(a.line, a.name, "is quoted in a way that ukdump cannot edit")
		}
	}
	return data, nil
}

// splices returns data with all splices, which are in order.
func splices(data []byte, list []splice) []byte {
	result := []byte{} // not nil, which is no file
	at := 0
	for _, s := range list {
		result = append(result, data[at:s.start]...)
		result = append(result, s.text...)
		at = s.end
	}
	return append(result, data[at:]...)
}

// encode turns the change of a value into changes of the file. Bytes go one by one, so that
// quotes between them stay.
func (f *shellFile) encode(a *assignment, w splice) []splice {
	var list []splice
	if w.text != "" {
		at, quote := f.place(a, w.span)
		text := w.text
		if quote == 0 {
			text = strings.ReplaceAll(text, " ", `\ `)
		}
		list = append(list, splice{span{at, at}, text})
	}
	for _, u := range a.units[w.start:w.end] {
		list = append(list, splice{span: u.span})
	}
	return list
}

// place returns where in the file text goes that takes the place of s in the value of a, and
// the quotes around it.
func (f *shellFile) place(a *assignment, s span) (at int, quote byte) {
	switch {
	case s.start < s.end:
		return a.units[s.start].start, a.units[s.start].quote
	case s.start > 0:
		return a.units[s.start-1].end, a.units[s.start-1].quote
	case len(a.units) > 0:
		return a.units[0].start, a.units[0].quote
	}
	// An empty value, such as "".
	raw := f.data[a.value.start:a.value.end]
	if len(raw) >= 2 && (raw[0] == '"' || raw[0] == '\'') {
		return a.value.start + 1, raw[0]
	}
	return a.value.start, 0
}

// with returns the file with an assignment at its end, which begins with a comment by which
// edit finds it. value is taken into double quotes and may have expansions.
func (f *shellFile) with(name, value string) []byte {
	text := addedBy + "\n" + name + `="` + value + `"`
	data := slices.Clone(f.data)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return append(data, "\n"+text...)
	}
	return append(data, text+"\n"...)
}

// added returns the lines of an assignment that with has added.
func (f *shellFile) added(a *assignment) (span, bool) {
	start := bytes.LastIndexByte(f.data[:a.value.start], '\n') + 1
	if !bytes.HasSuffix(f.data[:start], []byte(addedBy+"\n")) || strings.TrimRight(string(f.data[start:a.value.start]), "+=") != a.name {
		return span{}, false
	}
	start -= len(addedBy) + 1
	if start > 0 && f.data[start-1] != '\n' {
		return span{}, false
	}
	end := a.value.end
	switch {
	case end < len(f.data) && f.data[end] == '\n':
		return span{start, end + 1}, true
	case end < len(f.data):
		return span{}, false
	}
	return span{max(0, start-1), end}, true // with the newline that with has added
}

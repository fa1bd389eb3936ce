package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
)

func TestText(t *testing.T) {
	for _, tt := range []struct {
		s     string
		limit int
		want  string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 3, "äöü"}, {"äöüß", 3, "äö…"}, {"\x1b\nb\n", 9, "? b"}, {"abc", 1, "…"},
	} {
		if got := Text(tt.s, tt.limit); got != tt.want {
			t.Errorf("%q to %d: got %q, want %q", tt.s, tt.limit, got, tt.want)
		}
	}
}

func TestWriteJSON(t *testing.T) {
	in := map[string]string{"a": "\x1b\x7f\u009b\u2028\u202e\U000e0001<&>é"}
	var b bytes.Buffer
	if err := WriteJSON(&b, in); err != nil {
		t.Fatal(err)
	}
	const want = "{\n  \"a\": \"\\u001b\\u007f\\u009b\\u2028\\u202e\\udb40\\udc01<&>é\"\n}\n"
	if b.String() != want {
		t.Errorf("got %q\nwant %q", b.String(), want)
	}
	var out map[string]string
	if err := json.Unmarshal(b.Bytes(), &out); err != nil || out["a"] != in["a"] {
		t.Errorf("read back %q, %v", out, err)
	}
	if err := WriteJSON(io.Discard, func() {}); err == nil {
		t.Error("a function has JSON")
	}
}

func TestList(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}} {
		if got := List(names); got != want {
			t.Errorf("%q: got %q", names, got)
		}
	}
}

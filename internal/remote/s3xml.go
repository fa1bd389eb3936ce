package remote

import "strings"

// maxValue bounds a value in an answer of S3: upload IDs of AWS have about 130 bytes, those
// of others up to 500.
const maxValue = 2048

// xmlValue returns the text of the first element of a name in an answer of S3, "" without
// one. S3 uses neither attributes nor prefixes there, and encoding/xml would link 200 KB.
func xmlValue(body, name string) string {
	_, rest, ok := strings.Cut(body, "<"+name+">")
	if !ok {
		return ""
	}
	text, _, ok := strings.Cut(rest, "</"+name+">")
	if !ok || len(text) > maxValue || strings.Contains(text, "<") {
		return ""
	}
	return xmlUnescape.Replace(text)
}

// xmlElements returns the content of all elements of a name.
func xmlElements(body, name string) []string {
	var list []string
	for {
		_, rest, ok := strings.Cut(body, "<"+name+">")
		if !ok {
			return list
		}
		text, rest, ok := strings.Cut(rest, "</"+name+">")
		if !ok {
			return list
		}
		list, body = append(list, text), rest
	}
}

var (
	xmlUnescape = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&quot;", `"`, "&#34;", `"`, "&apos;", "'", "&#39;", "'", "&amp;", "&")
	xmlEscape   = strings.NewReplacer("<", "&lt;", ">", "&gt;", "&", "&amp;")
)

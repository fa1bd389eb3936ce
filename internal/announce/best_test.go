package announce

import (
	"testing"

	"ukdump/internal/crashdir"
)

// Which dump of one crash is announced, whatever their order.
func TestBestOfEach(t *testing.T) {
	dump := func(name string, o crashdir.Outcome, at string, logOnly bool) crashdir.Dump {
		return crashdir.Dump{Name: name, Outcome: o, At: at, LogOnly: logOnly, Report: &crashdir.Report{ID: "1"}}
	}
	list := []crashdir.Dump{ // the best first
		dump("complete here", crashdir.Complete, "", false),
		dump("complete at a server", crashdir.DmesgOnly, "sftp://x", false),
		dump("incomplete", crashdir.Incomplete, "", false),
		dump("log by choice", crashdir.DmesgOnly, "", true),
		dump("log", crashdir.DmesgOnly, "", false),
		dump("nothing", crashdir.Failed, "", false),
		dump("unknown", crashdir.Unknown, "", false),
	}
	for i := range list {
		for j := i + 1; j < len(list); j++ {
			for _, pair := range [][]crashdir.Dump{{list[i], list[j]}, {list[j], list[i]}} {
				first := pair[0].Name
				if got := bestOf(pair); got != list[i].Name {
					t.Errorf("%s and %s, %s first: got %s", list[i].Name, list[j].Name, first, got)
				}
			}
		}
	}
}

// bestOf returns the name of the best of two dumps of one crash in their order.
func bestOf(pair []crashdir.Dump) string {
	if better(&pair[1], &pair[0]) {
		return pair[1].Name
	}
	return pair[0].Name
}
